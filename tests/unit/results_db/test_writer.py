"""What a run leaves in the history, and what becomes of a run whose history fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from foothold_lab.harness.model import events
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.reporters import Bus
from foothold_lab.harness.reporters.jsonl import JsonLinesReporter
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.results_db import process, reader
from foothold_lab.harness.results_db.database import MEMORY, Database
from foothold_lab.harness.results_db.models import State
from foothold_lab.harness.results_db.writer import HistoryReporter, Recorder
from foothold_lab.harness.survey import SurveyData
from foothold_lab.harness.threshold.bisection import Edge, Search, Threshold
from tests.unit.harness import samples
from tests.unit.harness.test_reporters import a_run
from tests.unit.results_db import made


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(MEMORY) as database:
        yield database


def test_a_run_is_found_as_it_was(database: Database) -> None:
    native, uml = made.cell(), made.cell("uml-6.1", "rlimit_as=300M+overcommit=2")
    run = made.Made(
        name="r1", at=1000.0, verdicts={native: made.passes(native), uml: made.fails(uml)}
    )
    run.write(database)
    kept = reader.find(database, "last")
    assert (kept.run.name, kept.run.plan, kept.run.state) == ("r1", "nightly", State.FINISHED)
    assert kept.run.command == ("foothold", "run", "nightly")
    assert (kept.run.provenance, kept.run.seconds, kept.run.started) == (made.HERE, 9.5, 1000.0)
    assert kept.run.counts == {"pass": 1, "fail": 1}
    assert kept.run.subjects == {"allocator": "s1"}
    one, two = kept.cells
    assert (one.name, one.guest, one.limits, one.policy) == (native.id, "native", "none", "after")
    assert (two.result, two.path, two.outcome, two.seconds) == (
        Result.FAIL,
        "low",
        "allocates",
        0.25,
    )
    assert two.findings == (samples.finding("the plan expects high"),)
    assert kept.verdict(one) == made.passes(native)
    assert kept.verdict(two) == made.fails(uml)
    boot = kept.guests["uml-6.1"]
    assert boot.images == {"kernel": "kernel-1"}
    assert boot.release == "6.12.113"
    assert (boot.seconds, boot.argv) == (0.5, ("agent", "keep"))


def test_a_cell_is_there_as_soon_as_it_has_its_verdict(database: Database) -> None:
    recorder = Recorder(database, process.this_process())
    cells = [made.cell(limits=f"rlimit_as={n}M") for n in (100, 200)]
    told = made.Made(
        name="r", at=1.0, verdicts={cell: made.passes(cell) for cell in cells}
    ).events()
    for event in told[:-2]:
        recorder(event)
    run = reader.find(database, "r").run
    assert run.state is State.RUNNING
    assert run.counts == {"pass": 1, "not-run": 1}


@pytest.mark.parametrize(
    ("rest", "state"),
    [
        ([samples.finished()], State.FINISHED),
        ([samples.finished(interrupted=True)], State.INTERRUPTED),
        ([], State.BROKEN),
    ],
)
def test_how_far_it_came(database: Database, rest: list[events.AnyEvent], state: State) -> None:
    recorder = Recorder(database, process.this_process())
    for event in [*a_run(), *rest]:
        recorder(event)
    recorder.close()
    run = reader.find(database, "r").run
    assert run.state is state
    assert run.counts == {"pass": 1, "fail": 1, "unsupported": 1, "error": 1, "not-run": 1}


def test_a_name_that_is_taken_gets_a_number(database: Database) -> None:
    for at in (1.0, 2.0, 3.0):
        made.Made(name="out", at=at, verdicts={made.cell(): made.passes(made.cell())}).write(
            database
        )
    assert [run.name for run in reader.runs(database)] == ["out+3", "out+2", "out"]
    assert reader.find(database, "out").run.started == 1.0
    assert reader.find(database, "/runs/out").run.started == 3.0, "the newest in that directory"


def test_tries_are_counted(database: Database) -> None:
    cell = made.cell()
    made.Made(name="r", at=1.0, verdicts={cell: made.second_try(cell)}).write(database)
    kept = reader.find(database, "r")
    assert (kept.cells[0].retries, kept.cells[0].flaky, kept.run.flaky) == (1, True, 1)
    verdict = kept.verdict(kept.cells[0])
    assert verdict is not None
    assert verdict.attempts[0].findings == (samples.finding("the plan expects high"),)


def test_guests_that_did_not_boot_say_why(database: Database) -> None:
    cell = made.cell("uml-6.1")
    made.Made(name="r", at=1.0, verdicts={cell: made.breaks(cell)}, facts={"uml-6.1": None}).write(
        database
    )
    [boot] = reader.find(database, "r").boots
    assert (boot.failure, boot.facts, boot.release) == ("it hung", None, "")


def test_a_process_is_known_by_more_than_its_number() -> None:
    this_process = process.this_process()
    boot, namespace, pid, started = this_process.split()
    assert process.is_alive(this_process)
    assert not process.is_alive(f"{boot} {namespace} {pid} {int(started) + 1}"), (
        "its number is reused"
    )
    assert not process.is_alive(f"another-boot {namespace} {pid} {started}")
    assert not process.is_alive("")
    assert process.is_alive(f"{boot} pid:[1] 1 1"), "it cannot be seen from here"


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A history that cannot be written, since another program does not end its own writing."""
    file = tmp_path / "history.db"
    Database(file).close()
    monkeypatch.setattr("foothold_lab.harness.results_db.database.TIMEOUT", 0.05)
    monkeypatch.setattr(
        Database.__init__, "__kwdefaults__", Database.__init__.__kwdefaults__ | {"timeout": 0.05}
    )
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield file
    other.close()


def test_a_history_that_fails_is_told_once_and_the_run_goes_on(
    locked: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    lines = tmp_path / "events.jsonl"
    with Bus([HistoryReporter(locked), JsonLinesReporter(lines)], warn=told.append) as bus:
        for event in [*a_run(), samples.finished()]:
            bus(event)
    assert bus.failed == 1
    assert len(told) == 2
    assert "locked by another program" in told[0]
    assert told[0].endswith("; the run continues without it")
    assert told[1].startswith("  remedy: find it with `fuser")
    assert len(lines.read_bytes().splitlines()) == len(a_run()) + 1


def test_a_run_is_taken_in_from_its_directory(database: Database, tmp_path: Path) -> None:
    cells = [made.cell(), made.cell("uml-6.1")]
    run = made.Made(name="far", at=5.0, verdicts={cell: made.passes(cell) for cell in cells})
    sink = JsonLinesReporter(tmp_path / "events.jsonl")
    for event in [events.Progress(what="building"), *run.events()]:
        sink(event)
    sink.close()
    assert reader.find(database, str(tmp_path)).run.name == "far", "read where it is"
    assert reader.runs(database) == []
    added = reader.add(database, tmp_path)
    assert (added.name, added.state, added.counts) == ("far", State.FINISHED, {"pass": 2})
    with pytest.raises(UsageError, match="is in the history already, as far"):
        reader.add(database, tmp_path)
    kept = reader.find(database, "far")
    assert kept.verdict(kept.cells[1]) == made.passes(cells[1])


def test_a_directory_of_a_killed_run_ends_in_half_a_line(
    database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    sink = JsonLinesReporter(file)
    cells = [made.cell(), made.cell("uml-6.1")]
    for event in made.Made(
        name="k", at=5.0, verdicts={cell: made.passes(cell) for cell in cells}
    ).events()[:-1]:
        sink(event)
    sink.close()
    file.write_bytes(file.read_bytes()[:-40])
    run = reader.find(database, str(tmp_path)).run
    assert (run.state, run.counts) == (State.BROKEN, {"pass": 1, "not-run": 1})


@pytest.mark.parametrize("text", ["", "{}\n", "nonsense\n", '{"event": "run-finished"}\n'])
def test_a_directory_without_a_run(database: Database, tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        reader.find(database, str(tmp_path))
    (tmp_path / "events.jsonl").write_text(text)
    with pytest.raises(UsageError):
        reader.find(database, str(tmp_path))


def test_which_run_is_meant(database: Database) -> None:
    cell = made.cell()
    for at, plan in ((3.0, "nightly"), (1.0, "nightly"), (2.0, "release")):
        verdicts = {cell: made.passes(cell)}
        made.Made(name=f"2026-{at:.0f}", at=at, verdicts=verdicts, plan=plan).write(database)
    assert reader.find(database, "last").run.name == "2026-3", "by time, not by when it was added"
    assert reader.find(database, "last~2").run.name == "2026-1"
    assert reader.find(database, "last~1", "nightly").run.name == "2026-1"
    assert reader.find(database, "2026-2").run.plan == "release"
    assert [run.name for run in reader.runs(database, limit=2)] == ["2026-3", "2026-2"]
    for word, message in (("2026", "several runs"), ("2027", "no run in"), ("last~3", "no run")):
        with pytest.raises(UsageError, match=message) as caught:
            reader.find(database, word)
        assert "2026-3" in caught.value.remedy


def test_which_cell_is_meant(database: Database) -> None:
    cells = [made.cell(), made.cell("uml-6.1"), made.cell("uml-6.1", "rlimit_as=300M")]
    made.Made(name="r", at=1.0, verdicts={cell: made.passes(cell) for cell in cells}).write(
        database
    )
    kept = reader.find(database, "r")
    assert kept.cell("uml-6.1/none/after").name == "uml-6.1/none/after"
    assert kept.cell("300M").limits == "rlimit_as=300M"
    for word, message in (("uml", "several cells"), ("docker", "no cell")):
        with pytest.raises(UsageError, match=message):
            kept.cell(word)


def test_queries_look_into_indices_and_not_through_everything(database: Database) -> None:
    for query, index in (
        ("SELECT count(*) FROM cells WHERE run = 1 AND result = 'pass'", "cells_by_result"),
        ("SELECT seconds FROM cells WHERE base_name = 'x' AND run = 1", "cells_by_time"),
        ("SELECT min(outcome_key) FROM cells GROUP BY base_name, inputs_hash", "cells_by_setting"),
        ("SELECT count(*) FROM cells WHERE flaky AND run = 1", "cells_flaky"),
    ):
        [plan] = database.rows(f"EXPLAIN QUERY PLAN {query}")
        assert f"INDEX {index}" in plan["detail"], plan["detail"]


def test_repeats_are_one_question(database: Database) -> None:
    once = made.cell()
    twice = replace(once, repeat=2)
    made.Made(name="r", at=1.0, verdicts={cell: made.passes(cell) for cell in (once, twice)}).write(
        database
    )
    kept = reader.find(database, "r")
    assert [cell.name for cell in kept.cells] == ["native/none/after", "native/none/after~2"]
    assert {cell.base_name for cell in kept.cells} == {"native/none/after"}


def test_the_thresholds_of_a_survey_are_imported_with_its_run(
    database: Database, tmp_path: Path
) -> None:
    one = made.cell()
    bus = RunDirectoryReporter(tmp_path / "run")
    for event in made.Made(name="s", at=50.0, verdicts={one: made.passes(one)}).events():
        bus(event)
    bus.close()
    found = Threshold(
        guest="native",
        subject="go-hello",
        policy="",
        kind="rlimit_as",
        search=Search(edge=Edge.FOUND, smallest=2 << 20, largest=1 << 20, probes=()),
    )
    survey = SurveyData(subjects={}, thresholds=(found,))
    (tmp_path / "run" / "survey.json").write_bytes(msgspec.json.encode(survey))
    reader.add(database, tmp_path / "run")
    [kept] = reader.thresholds(database)
    assert (kept.at, kept.guest, kept.subject, kept.kind) == (
        50.0,
        "native",
        "go-hello",
        "rlimit_as",
    )
    assert (kept.edge, kept.smallest, kept.largest) == ("found", 2 << 20, 1 << 20)
    with pytest.raises(reader.KnownRunError, match="already, as s"):
        reader.add(database, tmp_path / "run")
    assert len(reader.thresholds(database)) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"thresholds": [{"guest": 1}]}', '{"thresholds": 7}'])
def test_a_damaged_survey_is_an_error_of_usage(
    database: Database, tmp_path: Path, text: str
) -> None:
    one = made.cell()
    bus = RunDirectoryReporter(tmp_path)
    for event in made.Made(name="s", at=50.0, verdicts={one: made.passes(one)}).events():
        bus(event)
    bus.close()
    (tmp_path / "survey.json").write_text(text)
    with pytest.raises(UsageError, match=r"survey\.json cannot be read"):
        reader.add(database, tmp_path)
    assert reader.runs(database) == []
