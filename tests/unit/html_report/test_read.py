"""Reading a run directory back: whole, cut short, damaged, or none at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foothold_lab.harness.html_report.read import read_evidence, read_run
from foothold_lab.harness.html_report.space import RegionKind, segments
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import Result
from tests.unit.html_report import runs


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return runs.write(tmp_path / "run", runs.events())


def test_a_run_is_read_as_it_was(directory: Path) -> None:
    run = read_run(directory)
    assert run.result.cells == runs.CELLS
    assert run.result.verdicts[runs.LOST.id].result is Result.ERROR
    assert run.result.counts["not-run"] == 1
    assert run.result.guests["uml-6.12"].ready
    assert run.notes == ()


def test_evidence_is_parsed(directory: Path) -> None:
    evidence = read_evidence(read_run(directory), runs.LOW.id, reports=True)
    assert list(evidence.maps) == ["reserved", "end"]
    assert evidence.report is not None
    assert evidence.report.path == "low"
    assert evidence.subject_trace is not None
    assert evidence.subject_trace.ending == "exited with 0"
    assert evidence.ending is not None
    assert evidence.ending.wall == 0.25
    assert evidence.problems == ()
    assert evidence.raw["strace"].endswith("+++ exited with 0 +++\n")


def test_a_program_under_an_emulator_is_shown_at_its_own_addresses(directory: Path) -> None:
    data, name = Path(__file__).parents[2] / "data/emulator", "qemu-user-arm64-39bit-after"
    log = (data / f"{name}.log").read_bytes()
    maps = {at: (data / f"{name}-{at}.maps").read_text() for at in ("reserved", "end")}
    record = Record(
        argv=(),
        pid=1,
        ending=Ending(status=0),
        stdout=(data / f"{name}.out").read_bytes(),
        stderr=b"",
        maps=maps,
        trace=log,
        emulator=log,
    )
    cell = f"{runs.LOW.id}+emulated"
    record.write(directory / "cells" / cell)
    evidence = read_evidence(read_run(directory), cell, reports=True)
    assert evidence.problems == ()
    assert evidence.subject_trace is not None
    assert evidence.subject_trace.ending == "exited with 0"
    assert list(evidence.maps) == ["reserved", "end"]
    drawn = segments(evidence)
    assert max(each.end for each in drawn) <= 1 << 39, "not those of the emulator"
    assert any(each.kind is RegionKind.ARENA for each in drawn)


def test_a_cell_of_which_nothing_is_kept_has_no_evidence(directory: Path) -> None:
    run = read_run(directory)
    assert read_evidence(run, runs.UNSUPPORTED.id, reports=True).problems == ()
    assert read_evidence(run, "nowhere/none/after", reports=True).maps == {}


@pytest.mark.parametrize("cell", ["../../outside", "native/link"])
def test_no_file_outside_of_the_run_is_read(directory: Path, cell: str) -> None:
    outside = directory.parent / "outside"
    outside.mkdir()
    (outside / "stdout.jsonl").write_text("secret")
    (directory / "cells/native/link").symlink_to(outside)
    assert (directory / "cells" / cell / "stdout.jsonl").read_text() == "secret"
    assert read_evidence(read_run(directory), cell, reports=True).raw == {}


def test_damaged_evidence_becomes_a_sentence(directory: Path) -> None:
    folder = directory / "cells" / runs.LOW.id
    (folder / "maps-end").write_bytes(b"\xff\xfe no maps")
    (folder / "ending.json").write_text('{"status": "good"}')
    (folder / "strace").unlink()
    (folder / "strace").mkdir()
    (folder / "stdout.jsonl").write_bytes(b"\x00\xff<script>")
    evidence = read_evidence(read_run(directory), runs.LOW.id, reports=True)
    assert [each.split()[0].strip(":") for each in evidence.problems] == [
        "strace",
        "maps-end",
        "ending.json",
    ]
    assert evidence.report is not None
    assert evidence.report.problems
    assert list(evidence.maps) == ["reserved"]


def test_a_run_that_was_killed_is_read_as_far_as_it_goes(directory: Path) -> None:
    path = directory / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:40])
    started = json.loads((directory / "run.json").read_text()) | {"finished": None}
    (directory / "run.json").write_text(json.dumps(started))
    run = read_run(directory)
    assert list(run.result.verdicts) == [runs.NATIVE.id, runs.LOW.id]
    assert len(run.notes) == 2
    assert "within a line" in run.notes[0]
    assert "no end" in run.notes[1]


@pytest.mark.parametrize("name", ["x" * 5000, "\0", "../../..", "nowhere"])
def test_names_may_be_anything(directory: Path, name: str) -> None:
    assert not read_run(directory).files.is_directory(name)
    assert not read_run(directory).files.is_file(name)


DAMAGED_HEADS = {
    "no JSON": b"\x00\xff\xfe",
    "a list": b"[]",
    "another schema": b'{"schema": 99}',
    "no cells": b'{"schema": 2, "foothold": "0", "started": null}',
}


def damage(directory: Path, how: str) -> Path:
    head, lines = directory / "run.json", directory / "events.jsonl"
    if how in ("nowhere", "a file"):
        return directory / "nowhere" if how == "nowhere" else head
    if how in DAMAGED_HEADS:
        head.write_bytes(DAMAGED_HEADS[how])
    elif how in ("no run.json", "no events"):
        (head if how == "no run.json" else lines).unlink()
    elif how == "a stranger":
        lines.write_bytes(lines.read_bytes().replace(b'"cell":"native', b'"cell":"nowhere'))
    else:
        assert how == "a bad line"
        parts = lines.read_bytes().split(b"\n")
        parts[2] = b'{"event": "martian"}'
        lines.write_bytes(b"\n".join(parts))
    return directory


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("nowhere", "nowhere does not exist"),
        ("a file", "run.json is not a directory"),
        ("no run.json", "it has no run.json"),
        ("no events", "events.jsonl: No such file"),
        ("no JSON", "run.json cannot be read"),
        ("a list", "run.json cannot be read"),
        ("another schema", "has schema 99; this Foothold reads 2"),
        ("no cells", "ended before it had cells"),
        ("a bad line", "events.jsonl, line 3 cannot be read: "),
        ("a stranger", "line 4: an event of no cell of this run: 'nowhere/none/after'"),
    ],
)
def test_what_is_no_run_is_told_in_words(directory: Path, how: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        read_run(damage(directory, how))
    assert caught.value.remedy
