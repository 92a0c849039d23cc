"""The runs of shards become one run. What is missing is an error, and never a pass."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import pytest
import zstandard

from foothold_lab.harness.cli import main
from foothold_lab.harness.merge import MergeSummary, combine, merge, open_source, read_shard
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import Blame, UsageError
from foothold_lab.harness.model.events import (
    AnyEvent,
    CellFinished,
    GuestBooting,
    GuestReady,
    RunFinished,
    RunStarted,
)
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.plan.shards import Shard
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.run_directory import read_events
from tests.unit.harness import samples

CELLS = tuple(
    Cell(guest=guest, limits=Limits.parse(limits), policy="after", expected=samples.HIGH_ALLOCATES)
    for guest in ("native", "uml-6.1")
    for limits in ("none", "rlimit_as=1G")
)


def write_run(
    directory: Path,
    cells: Sequence[Cell],
    *,
    shard: str = "",
    results: Iterable[Result] = (),
    **changed: object,
) -> Path:
    """Write the run of some cells. It ends after as many of them as there are results."""
    directory.mkdir()
    writer = RunDirectoryReporter(directory)
    begun = msgspec.structs.replace(
        samples.started(*cells),
        run=directory.name,
        directory=str(directory),
        shard=shard,
        other_cells=tuple(cell for cell in CELLS if cell not in cells) if shard else (),
        **changed,
    )
    writer(begun)
    for guest in dict.fromkeys(cell.guest for cell in cells):
        writer(GuestBooting(guest=guest, boot=guest))
        writer(samples.ready(guest))
        (directory / "guests" / guest / "console.log").write_text(f"{directory.name} {guest}")
    results = list(results)
    for cell, result in zip(cells, results, strict=False):
        place = directory / "cells" / cell.id
        done = samples.done(cell, result, artefacts=str(place))
        writer(msgspec.structs.replace(done, boot=cell.guest))
        (place / "maps").write_text(directory.name)
    if len(results) == len(cells):
        writer(samples.finished())
    writer.close()
    return directory


def write_shards(tmp_path: Path, count: int) -> list[Path]:
    runs = []
    for number in range(1, count + 1):
        cells = Shard(number, count).select(CELLS)
        place = tmp_path / f"shard{number}"
        passed = [Result.PASS] * len(cells)
        runs.append(write_run(place, cells, shard=f"{number}/{count}", results=passed))
    return runs


def merged_events(target: Path, directories: Iterable[Path]) -> tuple[MergeSummary, list[AnyEvent]]:
    """Merge runs, and return what a reader of the merged run directory reads."""
    writer = RunDirectoryReporter(target)
    run = combine([read_shard(each) for each in directories])
    summary = merge(run, target, ("foothold", "merge"), writer)
    writer.close()
    return summary, list(read_events(target))


def verdicts_of(events: Iterable[AnyEvent]) -> dict[str, CellFinished]:
    return {each.cell: each for each in events if isinstance(each, CellFinished)}


def test_all_shards_make_the_whole_plan(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, 3)
    target = tmp_path / "merged"
    summary, events = merged_events(target, reversed(shards))
    assert summary == MergeSummary(counts={"pass": 4}, missing=0)
    begun = events[0]
    assert isinstance(begun, RunStarted)
    assert (set(begun.cells), begun.shard, begun.other_cells) == (set(CELLS), "", ())
    assert (begun.run, begun.directory) == ("merged", str(target))
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    assert (finished.seconds, finished.counts) == (1.5, {"pass": 4})


def test_evidence_moves_into_the_merged_run(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, 2)
    target = tmp_path / "merged"
    _, events = merged_events(target, shards)
    for number, shard in enumerate(shards, 1):
        for cell in Shard(number, 2).select(CELLS):
            event = verdicts_of(events)[cell.id]
            assert event.verdict.artefacts == str(target / "cells" / cell.id)
            assert (target / "cells" / cell.id / "maps").read_text() == shard.name
            console = target / "guests" / event.boot / "console.log"
            assert console.read_text() == f"{shard.name} {cell.guest}"


def test_boots_of_one_guest_in_two_shards_have_two_names(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, 4)
    _, events = merged_events(tmp_path / "merged", shards)
    boots = [each.boot for each in events if isinstance(each, GuestReady)]
    assert sorted(boots) == [
        "native.1-of-4", "native.2-of-4", "uml-6.1.3-of-4", "uml-6.1.4-of-4"
    ]  # fmt: skip


def test_a_missing_shard_is_in_error(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, 4)
    summary, events = merged_events(tmp_path / "merged", [shards[0], shards[2]])
    assert summary == MergeSummary(counts={"pass": 2, "error": 2}, missing=2)
    for number in (2, 4):
        [cell] = Shard(number, 4).select(CELLS)
        verdict = verdicts_of(events)[cell.id].verdict
        assert (verdict.result, verdict.blame) == (Result.ERROR, Blame.INFRASTRUCTURE)
        [finding] = verdict.findings
        assert finding.code is Code.INFRASTRUCTURE_MISSING
        assert "2/4, 4/4" in finding.text


def test_a_cell_without_a_verdict_is_in_error(tmp_path: Path) -> None:
    whole, cut = CELLS[:2], CELLS[2:]
    one = write_run(tmp_path / "one", whole, shard="1/2", results=[Result.PASS] * 2)
    two = write_run(tmp_path / "two", cut, shard="2/2", results=[Result.PASS])
    summary, events = merged_events(tmp_path / "merged", [one, two])
    assert summary == MergeSummary(counts={"pass": 3, "error": 1}, missing=1)
    verdict = verdicts_of(events)[cut[1].id].verdict
    assert [each.code for each in verdict.findings] == [Code.INFRASTRUCTURE_MISSING]
    assert "2/2 ended before" in verdict.reason


@pytest.mark.parametrize("first", ["1/2", "2/2"])
def test_a_cell_of_two_shards_keeps_its_worst_verdict(tmp_path: Path, first: str) -> None:
    second = {"1/2": "2/2", "2/2": "1/2"}[first]
    passing = write_run(tmp_path / "passing", CELLS[:3], shard=first, results=[Result.PASS] * 3)
    failing = write_run(
        tmp_path / "failing", CELLS[2:], shard=second, results=[Result.FAIL, Result.PASS]
    )
    summary, events = merged_events(tmp_path / "merged", [passing, failing])
    assert summary.counts == {"pass": 3, "fail": 1}
    assert verdicts_of(events)[CELLS[2].id].verdict.result is Result.FAIL
    assert (tmp_path / "merged" / "cells" / CELLS[2].id / "maps").read_text() == "failing"


def test_runs_of_other_machines_are_merged_if_they_share_no_cell(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, cells, results=[Result.PASS] * 2)
        for name, cells in (("here", CELLS[:2]), ("there", CELLS[2:]))
    ]
    summary, _ = merged_events(tmp_path / "merged", runs)
    assert summary.counts == {"pass": 4}
    again = write_run(tmp_path / "again", CELLS[1:2], results=[Result.PASS])
    with pytest.raises(UsageError, match="here and in"):
        combine([read_shard(each) for each in (*runs, again)])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"plan": "nightly"}, "nightly"),
        ({"shard": "2/3"}, "shard 2/3"),
        ({"shard": "1/2"}, "shard 1/2 is in"),
        ({"shard": ""}, "not a shard"),
        ({"subjects": {"server": "2"}}, "server is another program"),
    ],
)
def test_refuses_runs_that_do_not_belong_together(
    tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    same = {"subjects": {"server": "1"}}
    one = write_run(tmp_path / "one", CELLS[:2], shard="1/2", results=[Result.PASS] * 2, **same)
    options: dict[str, object] = {"shard": "2/2", **same, **changed}
    two = write_run(tmp_path / "two", CELLS[2:], results=[Result.PASS] * 2, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        combine([read_shard(one), read_shard(two)])


@pytest.mark.parametrize("shard", ["x/y", "3/2", "0/0", "1/", "/"])
def test_refuses_a_run_with_a_shard_that_cannot_be(tmp_path: Path, shard: str) -> None:
    run = write_run(tmp_path / "one", CELLS, shard=shard, results=[Result.PASS] * 4)
    with pytest.raises(UsageError, match="is not a shard"):
        read_shard(run)


def test_a_shard_without_cells_is_merged(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", CELLS, shard="1/2", results=[Result.PASS] * 4)
    two = write_run(tmp_path / "two", (), shard="2/2")
    summary, _ = merged_events(tmp_path / "merged", [one, two])
    assert summary == MergeSummary(counts={"pass": 4}, missing=0)


@pytest.mark.parametrize("top", [".", "run-17"])
@pytest.mark.parametrize("form", ["tar", "gz", "xz", "zst"])
def test_reads_archives(tmp_path: Path, top: str, form: str) -> None:
    run = write_run(tmp_path / "run", CELLS, results=[Result.PASS] * 4)
    file = tmp_path / f"run.{form}"
    buffer = io.BytesIO()
    kind = {"gz": "w:gz", "xz": "w:xz"}.get(form, "w")
    with tarfile.open(fileobj=buffer, mode=kind) as archive:  # type: ignore[call-overload]
        archive.add(run, top)
    data = buffer.getvalue()
    file.write_bytes(zstandard.compress(data) if form == "zst" else data)
    with open_source(file) as directory:
        assert len(read_shard(directory).verdicts) == 4
    assert not directory.exists()


def archive_with(path: Path, member: tarfile.TarInfo, data: bytes = b"") -> Path:
    with tarfile.open(path, "w") as archive:
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "run/../../evil", "a//b"])
def test_refuses_names_that_leave_the_archive(tmp_path: Path, name: str) -> None:
    file = archive_with(tmp_path / "hostile.tar", tarfile.TarInfo(name), b"x")
    with pytest.raises(UsageError, match="is not a name"), open_source(file):
        pass
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_leaves_out_what_is_not_a_file(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("run.json")
    member.type, member.linkname = kind, "/etc/shadow"
    file = archive_with(tmp_path / "hostile.tar", member)
    with pytest.raises(UsageError, match=r"has no run\.json"), open_source(file):
        pass


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 2000, b"\x28\xb5\x2f\xfd garbage", b"\x1f\x8b garbage"]
)
def test_refuses_what_is_not_an_archive(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(UsageError), open_source(file):
        pass


def test_refuses_an_archive_of_several_runs(tmp_path: Path) -> None:
    file = tmp_path / "both.tar"
    with tarfile.open(file, "w") as archive:
        for name in ("one", "two"):
            archive.add(write_run(tmp_path / name, CELLS), name)
    with pytest.raises(UsageError, match="holds several runs: one, two"), open_source(file):
        pass


def test_refuses_what_is_neither_a_file_nor_a_directory(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (
        pytest.raises(UsageError, match="neither a directory nor a file"),
        open_source(tmp_path / "fifo"),
    ):
        pass


def test_refuses_a_run_of_another_schema(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", CELLS, results=[Result.PASS] * 4)
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"schema": 2', '"schema": 3', 1))
    with pytest.raises(UsageError, match="has schema 3"):
        read_shard(run)


def test_a_shard_that_cannot_be_read_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTHOLD_RUNS", str(tmp_path / "runs"))
    one, two = write_shards(tmp_path, 2)
    (two / "events.jsonl").write_text("")
    words = ["merge", str(one), str(two), "--no-history", "--run-dir", str(tmp_path / "merged")]
    assert main.main(words) == 3
    assert f"left out, its cells are missing: {two} has no run" in capsys.readouterr().err
    verdicts = read_shard(tmp_path / "merged").verdicts
    assert len(verdicts) == len(CELLS)
    assert {each.result for each in verdicts.values()} == {Result.PASS, Result.ERROR}
    assert main.main(["merge", str(two), "--no-history"]) == 2


@pytest.mark.parametrize(
    "place", ["shard1", "shard1/merged", "shard2/cells/native/new", "link/merged"]
)
def test_a_run_is_not_merged_into_itself(
    tmp_path: Path,
    place: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOOTHOLD_RUNS", str(tmp_path / "runs"))
    shards = write_shards(tmp_path, 2)
    (tmp_path / "link").symlink_to(shards[0])
    before = sorted(tmp_path.rglob("*"))
    words = ["merge", *map(str, shards), "--no-history", "--run-dir"]
    assert main.main([*words, str(tmp_path / place)]) == 2
    error = capsys.readouterr().err
    assert "which is merged" in error
    assert "remedy: give --run-dir a directory outside of the runs" in error
    assert sorted(tmp_path.rglob("*")) == before
    assert main.main([*words, str(tmp_path / "beside")]) == 0
