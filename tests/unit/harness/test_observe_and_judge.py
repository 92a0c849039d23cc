"""Joining the witnesses and judging: what is believed, and who disagrees with whom."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.evidence import judge, observe
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath, Result
from tests.unit.harness import samples
from tests.unit.harness.samples import DIES, HIGH_ALLOCATES, LOW_ALLOCATES, recorded


@pytest.mark.parametrize(
    ("path", "expected"),
    [("high", HIGH_ALLOCATES), ("low", LOW_ALLOCATES), ("refused", DIES)],
)
def test_what_real_subjects_did(path: str, expected: Expectation) -> None:
    seen = observe(recorded(path))
    assert seen.contradictions == ()
    assert seen.is_as(expected)
    assert set(seen.evidence) >= {"report", "ending"}
    assert any(who.startswith("maps") for who in seen.evidence)


def test_the_report_must_be_about_the_cell() -> None:
    cell = Cell(guest="g", limits=Limits(), policy="before")
    assert observe(recorded("refused"), cell).contradictions == ()
    told = observe(recorded("high"), cell).contradictions
    assert samples.codes(told) == [Code.REPORT_VS_CELL]
    assert samples.says(told, Code.REPORT_VS_CELL, "policy", "after", "before")


USED = '"arena_used":1066231922688'
BASE = '"base":79691776,"length":671088640,"bitmap":79691776,"bitmap_size":134217728'
BASE_A_PAGE_LOWER = '"base":79687680,"length":671092736,"bitmap":79687680,"bitmap_size":134221824'


def lying(kind: str) -> Record:
    """A record in which one witness has been bent."""
    high, low, refused = recorded("high"), recorded("low"), recorded("refused")
    kinds = {
        "maps of another": dataclasses.replace(high, maps=low.maps),
        "maps empty": dataclasses.replace(high, maps={"reserved": "", "end": ""}),
        "maps garbled": dataclasses.replace(high, maps={**high.maps, "end": "\x1b[2Jhello"}),
        "maps missing": dataclasses.replace(high, maps={}),
        "maps of too much": dataclasses.replace(refused, maps=high.maps),
        "pid": dataclasses.replace(high, pid=1),
        "status": dataclasses.replace(high, ending=Ending(status=1)),
        "signal": dataclasses.replace(high, ending=Ending(status=-1, signal=9)),
        "died well": dataclasses.replace(refused, ending=Ending(status=0)),
        "other throw": dataclasses.replace(refused, stderr=b"throw: fault\n"),
        "no throw": dataclasses.replace(refused, stderr=b""),
        "cut": dataclasses.replace(high, cut=("stdout",)),
        "no report": dataclasses.replace(high, stdout=b""),
        "no hold": recorded("high", without='"hold","at":"end"'),
        "heap": recorded("high", replace=(USED, '"arena_used":1083405500416')),
        "no heap": recorded("high", replace=(USED, '"arena_used":1066225631232')),
        "kernel": recorded("high", replace=('"real"', '"model"')),
        "base": recorded("low", replace=(BASE, BASE_A_PAGE_LOWER)),
    }  # fmt: skip
    return kinds[kind]


@pytest.mark.parametrize(
    ("kind", "code", "values"),
    [
        ("maps of another", Code.REPORT_VS_MAPS, ["high", "low", "640M"]),
        ("maps empty", Code.REPORT_VS_MAPS, ["high", "no arena"]),
        ("maps garbled", Code.MAPS_UNREADABLE, ["end"]),
        ("maps missing", Code.REPORT_VS_CHECKPOINTS, ["end"]),
        ("maps of too much", Code.REPORT_VS_CHECKPOINTS, ["end"]),
        ("pid", Code.REPORT_VS_CELL, ["pid", "1"]),
        ("status", Code.REPORT_VS_ENDING, ["status 1"]),
        ("signal", Code.REPORT_VS_ENDING, ["SIGKILL"]),
        ("died well", Code.REPORT_VS_ENDING, ["status 2", "status 0"]),
        ("other throw", Code.REPORT_VS_ENDING, ["throw: fault"]),
        ("no throw", Code.REPORT_VS_ENDING, ["throw: runtime: out of memory"]),
        ("cut", Code.OUTPUT_TRUNCATED, ["stdout"]),
        ("no report", Code.REPORT_MALFORMED, []),
        ("no hold", Code.REPORT_VS_CHECKPOINTS, ["end"]),
        ("heap", Code.REPORT_VS_MAPS, ["end", f"{1083405500416:#x}"]),
        ("no heap", Code.REPORT_VS_MAPS, ["end"]),
        ("kernel", Code.REPORT_VS_CELL, ["kernel", "model", "real"]),
        ("base", Code.REPORT_VS_MAPS, ["0x4bff000", "0x4c00000"]),
    ],
)
def test_names_both_witnesses_that_disagree(kind: str, code: Code, values: list[str]) -> None:
    seen = observe(lying(kind))
    assert samples.says(seen.contradictions, code, *values), seen.contradictions
    assert seen.outcome is not Outcome.ALLOCATES
    assert judge(samples.cell(), None, seen, seconds=0.1).result is Result.FAIL


def test_a_word_alone_proves_nothing() -> None:
    """A subject that says all the right things about memory which it does not have."""
    honest = recorded("high")
    liar = recorded("low", replace=("x", "x"))
    seen = observe(dataclasses.replace(liar, stdout=honest.stdout, pid=honest.pid))
    assert seen.path is ReservationPath.LOW
    assert seen.contradictions


def test_death_after_the_reservation_keeps_the_path_that_was_seen() -> None:
    low = recorded("low")
    report = b"".join(low.stdout.splitlines(keepends=True)[:3])
    report += b'{"event":"throw","message":"out of memory","printed":["x"],"status":2}\n'
    seen = observe(
        Record(
            argv=(),
            pid=low.pid,
            ending=Ending(status=2),
            stdout=report,
            stderr=b"x\nthrow: out of memory\n",
            maps={"reserved": low.maps["reserved"]},
        )
    )
    assert seen.contradictions == ()
    assert str(seen) == "low, dies, status 2: throw: out of memory"


def test_broken_memory_is_a_contradiction() -> None:
    low = recorded("low")
    report = b"".join(low.stdout.splitlines(keepends=True)[:3])
    report += b'{"event":"broken","message":"the block at 0x1 changed"}\n'
    seen = observe(
        dataclasses.replace(
            low, stdout=report, ending=Ending(status=1), maps={"reserved": low.maps["reserved"]}
        )
    )
    assert samples.says(seen.contradictions, Code.SUBJECT_MEMORY, "the block at 0x1 changed")


def test_a_signal_ends_it_whatever_else() -> None:
    seen = observe(
        Record(argv=(), pid=1, ending=Ending(status=-1, signal=11), stdout=b"", stderr=b"")
    )
    assert str(seen) == "killed by SIGSEGV"
    assert not seen.is_as(DIES)


@given(st.binary(max_size=100), st.binary(max_size=100), st.text(max_size=60), st.integers(0, 255))
def test_no_record_raises(stdout: bytes, stderr: bytes, maps: str, status: int) -> None:
    seen = observe(
        Record(
            argv=(),
            pid=1,
            ending=Ending(status=status),
            stdout=stdout,
            stderr=stderr,
            maps={"reserved": maps},
        )
    )
    assert seen.contradictions


def test_agreement_of_all_three_passes() -> None:
    one = samples.cell()
    verdict = judge(
        one,
        HIGH_ALLOCATES,
        samples.observation(HIGH_ALLOCATES),
        seconds=1.0,
        notes=["no KVM"],
        console="boot",
    )
    assert verdict.result is Result.PASS
    assert verdict.findings == ()
    assert verdict.blame is None
    assert verdict.console == ""
    assert verdict.notes == ("no KVM",)


def test_a_subject_that_dies_as_expected_passes() -> None:
    one = dataclasses.replace(samples.cell(policy="before"), expected=DIES)
    assert judge(one, DIES, samples.observation(DIES), seconds=1).result is Result.PASS


WHY = dataclasses.replace(LOW_ALLOCATES, reason="the probe was moved")


@pytest.mark.parametrize(
    ("expected", "predicted", "observed", "codes"),
    [
        (LOW_ALLOCATES, WHY, DIES, [Code.PLAN_EXPECTATION, Code.ORACLE_PATH]),
        (HIGH_ALLOCATES, WHY, LOW_ALLOCATES, [Code.PLAN_EXPECTATION, Code.PLAN_PREDICTION]),
        (HIGH_ALLOCATES, WHY, HIGH_ALLOCATES, [Code.ORACLE_PATH, Code.PLAN_PREDICTION]),
        (None, WHY, LOW_ALLOCATES, []),
        (LOW_ALLOCATES, None, LOW_ALLOCATES, []),
        (None, None, LOW_ALLOCATES, [Code.PLAN_NOTHING_EXPECTED]),
    ],
)
def test_each_disagreement_is_one_finding(
    expected: Expectation | None,
    predicted: Expectation | None,
    observed: Expectation,
    codes: list[Code],
) -> None:
    one = dataclasses.replace(samples.cell(), expected=expected)
    verdict = judge(one, predicted, samples.observation(observed), seconds=1, console="boot")
    assert samples.codes(verdict.findings) == codes
    assert sum("the probe was moved" in each.text for each in verdict.findings) <= 1
    assert verdict.result is (Result.FAIL if codes else Result.PASS)
    if codes:
        assert (verdict.blame, verdict.console) == (Blame.SUBJECT, "boot")


def test_a_finding_gives_both_sides_and_the_reason_of_the_oracle() -> None:
    one = dataclasses.replace(samples.cell(), expected=LOW_ALLOCATES)
    plan, oracle = judge(one, WHY, samples.observation(DIES), seconds=1).findings
    for each in (plan, oracle):
        for value in ("low, allocates", "status 2", samples.OUT_OF_MEMORY):
            assert value in each.text
    assert "the probe was moved" in oracle.text


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": 3}, Code.ORACLE_OUTCOME),
        ({"message": "throw: out of memory"}, Code.ORACLE_OUTCOME),
        ({"path": ReservationPath.LOW}, Code.ORACLE_PATH),
        ({"outcome": Outcome.ALLOCATES}, Code.ORACLE_OUTCOME),
        ({"signal": 9}, Code.ORACLE_OUTCOME),
        ({"path": None}, Code.ORACLE_PATH),
        ({"outcome": None}, Code.ORACLE_OUTCOME),
    ],
)
def test_path_outcome_status_and_message_all_count(change: dict[str, object], code: Code) -> None:
    one = dataclasses.replace(samples.cell(), expected=DIES)
    seen = samples.observation(DIES, **change)
    verdict = judge(one, DIES, seen, seconds=1)
    assert verdict.result is Result.FAIL
    assert samples.codes(verdict.findings) == [Code.PLAN_EXPECTATION, code]
    assert str(seen) != str(DIES), "a sentence that says the same twice"


def test_the_recorded_reports_are_what_the_subject_writes() -> None:
    for path in ("high", "low"):
        for line in recorded(path).stdout.splitlines():
            assert json.loads(line)["event"]
