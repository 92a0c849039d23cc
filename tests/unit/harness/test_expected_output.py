"""Expectations about standard output: of a file, and of the same cell in another guest."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.cli.plan_options import Overrides
from foothold_lab.harness.evidence import judge, observe_program
from foothold_lab.harness.evidence.output_difference import first_difference, output_difference
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import Blame, UsageError
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.output import MOST_EXPECTED, OutputDigest, read_expected_output
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import Expectation, Observation, Result, Verdict
from foothold_lab.harness.plan import load_plan
from foothold_lab.harness.plan.references import REFERENCE, with_references
from foothold_lab.harness.runner.references import (
    check_references,
    compared_with,
    reference_of,
)
from foothold_lab.harness.transport.supervised import MOST_OUTPUT
from tests.unit.harness.samples import KNOWN

SAME_AS_NATIVE = Expectation.parse("same-output-as:native")
PLAN = """schema = 1
name = "p"
[axes]
guests = ["uml-6.1", "native"]
subjects = ["hello"]
[subject.hello]
program = "/bin/echo"
[[expect]]
guests = ["uml-6.1"]
expect = "starts"
"""


def observed(stdout: bytes, *, status: int = 0, signal: int = 0, cut: bool = False) -> Observation:
    return observe_program(
        Record(
            argv=(),
            pid=7,
            ending=Ending(status=-1 if signal else status, signal=signal),
            stdout=stdout,
            stderr=b"",
            cut=("stdout",) if cut else (),
        )
    )


def cell(guest: str, expected: Expectation | None, **others: object) -> Cell:
    made = Cell(guest=guest, limits=Limits(), policy="", subject="hello", workload="")
    return replace(made, expected=expected, **others)  # type: ignore[arg-type]


def expecting(directory: Path, content: bytes) -> Expectation:
    (directory / "expected").write_bytes(content)
    return Expectation.parse("stdout:expected").with_output_read(directory)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\0\xff\r\n"])
def test_an_output_has_to_equal_the_file(tmp_path: Path, content: bytes) -> None:
    expected = expecting(tmp_path, content)
    assert expected.stdout_file == str(tmp_path / "expected")
    assert observed(content).is_as(expected)
    assert observed(content, status=1).is_as(expected)  # however it ended
    assert not observed(content + b"\n").is_as(expected)
    assert not observed(content, cut=True).is_as(expected)
    assert "standard output as in" in str(expected)


def test_an_expectation_keeps_what_the_file_held_when_it_was_read(tmp_path: Path) -> None:
    expected = expecting(tmp_path, b"old\n")
    (tmp_path / "expected").write_bytes(b"new\n")
    assert observed(b"old\n").is_as(expected)
    assert not observed(b"new\n").is_as(expected)
    told = output_difference(expected, b"new\n")
    assert "no longer has the expected output" in told
    (tmp_path / "expected").unlink()
    assert "no longer has the expected output" in output_difference(expected, b"new\n")


def test_a_file_that_was_not_read_never_matches() -> None:
    assert not observed(b"").is_as(Expectation.parse("stdout:expected"))
    assert not observed(b"").is_as(SAME_AS_NATIVE)


def test_rejects_a_file_that_cannot_be_the_output(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"x" * (MOST_EXPECTED + 1))
    for name, problem in (
        ("missing", "No such file"),
        (".", "directory|regular"),
        ("fifo", "not a regular file"),
        ("large", "larger than 4 MiB"),
    ):
        with pytest.raises(UsageError, match=problem) as raised:
            read_expected_output(tmp_path / name)
        assert raised.value.remedy
    assert MOST_EXPECTED <= MOST_OUTPUT  # an output as long as the file is kept


@pytest.mark.parametrize(
    ("wanted", "printed", "told"),
    [
        (b"a\nb\nc\n", b"a\nB\nc\n", "line 2: expected `b`, printed `B`"),
        (b"a\n", b"a\nb\n", "line 2: expected no more, printed `b\\n`"),
        (b"a\nb\n", b"a\n", "line 2: expected `b\\n`, printed no more"),
        (b"a\n", b"a", "line 1: expected `a\\n`, printed `a`"),
        (b"", b"\x1b[31m\xff", "line 1: expected no more, printed `\\x1b[31m\\xff`"),
        (b"x" * 200 + b"1\n", b"x" * 200 + b"2\n", f"expected `…{'x' * 20}1`, printed `…"),
        (b"1" + b"x" * 200, b"2" + b"x" * 200, f"expected `1{'x' * 79}…`, printed `2"),
    ],
)
def test_shows_the_first_difference(wanted: bytes, printed: bytes, told: str) -> None:
    assert told in first_difference(wanted, printed)


def test_finds_a_difference_at_the_end_of_the_longest_output_in_short_time() -> None:
    lines = b"line\n" * (MOST_EXPECTED // 5)
    started = time.process_time()
    assert first_difference(lines + b"a", lines + b"b").startswith("line 838861: expected `a`")
    assert time.process_time() - started < 5


def test_a_verdict_has_the_code_and_the_difference(tmp_path: Path) -> None:
    expected = expecting(tmp_path, b"a\nb\n")
    seen = replace(observed(b"a\nc\n"), output_difference=output_difference(expected, b"a\nc\n"))
    verdict = judge(cell("uml-6.1", expected), None, seen, seconds=0.1)
    assert [each.code for each in verdict.findings] == [Code.PLAN_STDOUT]
    assert "differs in line 2: expected `b`, printed `c`" in verdict.findings[0].text
    assert judge(cell("uml-6.1", expected), None, observed(b"a\nb\n"), seconds=0.1).passed


def reference(seen: Observation | None, **others: object) -> Verdict:
    values = {"cell": "native/none/hello", "result": Result.PASS, "seconds": 0.1} | others
    return Verdict(**values, observed=seen, artefacts="/run/cells/native")  # type: ignore[arg-type]


def compared(seen: Observation) -> Expectation:
    made = compared_with(cell("uml-6.1", SAME_AS_NATIVE), reference(seen))
    assert isinstance(made, Cell)
    assert made.expected
    return made.expected


def test_the_same_output_and_the_same_end_pass() -> None:
    expected = compared(observed(b"42\n", status=3))
    assert str(expected) == "same output as native, status 3"
    assert expected.stdout_file == "/run/cells/native/stdout"
    assert observed(b"42\n", status=3).is_as(expected)
    assert not observed(b"42\n").is_as(expected)
    assert not observed(b"43\n", status=3).is_as(expected)
    assert not observed(b"42\n", signal=11).is_as(expected)


def test_the_same_signal_passes() -> None:
    expected = compared(observed(b"", signal=11))
    assert str(expected) == "same output as native, killed by SIGSEGV"
    assert observed(b"", signal=11).is_as(expected)
    assert not observed(b"", signal=6).is_as(expected)


def test_a_program_that_waits_in_both_guests_passes() -> None:
    waiting = replace(observed(b"ready\n"), stopped=True)
    expected = compared(waiting)
    assert waiting.is_as(expected)
    assert not observed(b"ready\n", status=1).is_as(expected)


def test_another_end_is_a_finding_of_its_own() -> None:
    seen = observed(b"42\n", status=1)
    made = replace(cell("uml-6.1", None), expected=compared(observed(b"42\n")))
    [finding] = judge(made, None, seen, seconds=0.1).findings
    assert finding.code is Code.PLAN_SAME_OUTPUT
    assert finding.text.endswith("Its standard output is the same.")


@pytest.mark.parametrize(
    ("blame", "result", "expected"),
    [
        (Blame.UNSUPPORTED, Result.UNSUPPORTED, Result.UNSUPPORTED),
        (Blame.UNSUPPORTED, Result.FAIL, Result.UNSUPPORTED),  # of a required guest
        (Blame.GUEST, Result.ERROR, Result.ERROR),
    ],
)
def test_without_a_reference_a_cell_has_the_cause(
    blame: Blame, result: Result, expected: Result
) -> None:
    finding = Finding(Code.UNSUPPORTED_GUEST, "no engine")
    other = reference(None, result=result, blame=blame, findings=(finding,), remedy="start it")
    made = compared_with(cell("uml-6.1", SAME_AS_NATIVE), other)
    assert isinstance(made, Verdict)
    assert (made.result, made.blame, made.remedy) == (expected, blame, "start it")
    assert made.findings[0].text == "native/none/hello has no output to compare with: no engine"


def test_adds_the_cells_with_which_others_are_compared() -> None:
    uml = cell("uml-6.1", SAME_AS_NATIVE)
    again = replace(uml, repeat=2, limits=Limits(rlimit_as=1 << 30))
    starts = cell("native", Expectation.parse("starts"))
    made = with_references([uml, starts, again])
    assert [each.id for each in made] == [
        "native/rlimit_as=1G/hello~2",
        "uml-6.1/none/hello",
        "native/none/hello",
        "uml-6.1/rlimit_as=1G/hello~2",
    ]
    by_name = {each.id: each for each in made}
    assert by_name["native/none/hello"].expected == starts.expected
    assert by_name["native/rlimit_as=1G/hello~2"].expected == REFERENCE
    assert with_references(made) == made
    check_references(by_name)
    assert reference_of(uml) == "native/none/hello"


def test_a_guest_that_is_compared_with_itself_is_the_reference() -> None:
    made = with_references([cell("native", SAME_AS_NATIVE), cell("uml-6.1", SAME_AS_NATIVE)])
    assert [(each.guest, str(each.expected)) for each in made] == [
        ("native", "anything"),
        ("uml-6.1", "same output as native"),
    ]


def test_rejects_a_reference_that_is_compared_itself() -> None:
    same_as_uml = Expectation.parse("same-output-as:uml-6.1")
    with pytest.raises(UsageError, match=r"uml-6\.1/none/hello is to print the same as in native"):
        with_references([cell("uml-6.1", SAME_AS_NATIVE), cell("uml-7.2", same_as_uml)])
    with pytest.raises(UsageError, match="is compared with"):
        with_references([cell("uml-6.1", SAME_AS_NATIVE), cell("native", same_as_uml)])
    with pytest.raises(UsageError, match="cannot be compared with native/none/hello"):
        check_references({"uml-6.1/none/hello": cell("uml-6.1", SAME_AS_NATIVE)})


@pytest.mark.parametrize("form", ["same-output-as:native", "stdout:file"])
def test_rejects_an_output_of_the_allocator(form: str) -> None:
    allocator = Cell(
        guest="uml-6.1", limits=Limits(), policy="after", expected=Expectation.parse(form)
    )
    with pytest.raises(UsageError, match="the standard output of the allocator is its report"):
        with_references([allocator])


def read(directory: Path, expect: str) -> tuple[Cell, ...]:
    file = directory / "plan.toml"
    file.write_text(PLAN.replace("starts", expect))
    return load_plan(file, KNOWN).cells()


def test_the_file_of_a_plan_is_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("hello\n")
    expected = read(tmp_path, "stdout:out")[0].expected
    assert expected
    assert expected.stdout_file == str(tmp_path / "out")
    assert expected.stdout == OutputDigest.of(b"hello\n")


def test_a_plan_names_the_line_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file") as raised:
        read(tmp_path, "stdout:out")
    assert str(raised.value).startswith(f"{tmp_path / 'plan.toml'}:10: ")


def test_a_plan_takes_any_name_of_a_guest(tmp_path: Path) -> None:
    expected = read(tmp_path, "same-output-as:uml-trixie")[0].expected
    assert expected
    assert expected.same_output_as == "uml-6.12"
    with pytest.raises(UsageError, match="unknown guest 'nativ': did you mean native"):
        read(tmp_path, "same-output-as:nativ")


def test_a_plan_rejects_a_circle(tmp_path: Path) -> None:
    more = (
        'same-output-as:native"\n[[expect]]\nguests = ["native"]\nexpect = "same-output-as:uml-6.1'
    )
    with pytest.raises(UsageError, match=r"compared with uml-6\.1") as raised:
        read(tmp_path, more)
    assert str(raised.value).startswith(str(tmp_path / "plan.toml"))


def test_the_command_that_repeats_a_cell_works_in_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").write_text("hello\n")
    (tmp_path / "plan.toml").write_text(PLAN)
    plan = load_plan(tmp_path / "plan.toml", KNOWN)
    given = dict.fromkeys(("guests", "limits", "subjects", "policies", "workloads", "tags"), ())
    others = {"repeats": None, "deadline": None, "trace": None, "expect": "stdout:out"}
    _, cells = Overrides(given | others).select_cells(plan)
    assert cells[0].command[-2:] == ("--expect", f"stdout:{tmp_path / 'out'}")
    with pytest.raises(UsageError, match=r"--expect: .*/nothing: No such file"):
        Overrides(given | others | {"expect": "stdout:nothing"}).select_cells(plan)
