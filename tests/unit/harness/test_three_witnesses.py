"""Report, maps and trace of one subject: they agree, and each lie is told with both lines."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from foothold_lab.harness.evidence import observe
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import Outcome, ReservationPath
from tests.unit.harness import samples

RECORDED = Path(__file__).parent / "recorded" / "traced"


def record(path: str) -> Record:
    """What was seen of the allocator in uml-6.12 (low), uml-7.2 (high), and of an i386 Python on a
    64-bit kernel (its execve lines shortened).
    """
    folder = RECORDED / path
    trace = (folder / "strace").read_bytes()
    maps = {moment: (folder / f"maps-{moment}").read_text() for moment in ("reserved", "end")}
    stdout = (folder / "stdout.jsonl").read_bytes()
    return Record(
        argv=(),
        pid=int(trace.split()[0]),
        ending=Ending(status=0),
        stdout=stdout,
        stderr=b"",
        maps=maps,
        trace=trace,
    )


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("high", "64K --- at 0xf800000000: honoured, 0xf800000000, unmapped"),
        (
            "low",
            "64K --- at 0xf800000000: moved, 0x405d9000, kept; 640M --- at 0x4c00000: honoured",
        ),
    ],
)
def test_three_witnesses_agree(path: str, told: str) -> None:
    seen = observe(record(path))
    assert seen.contradictions == ()
    assert (seen.path, seen.outcome) == (ReservationPath(path), Outcome.ALLOCATES)
    assert seen.evidence["trace"].startswith(told)


def test_three_witnesses_agree_about_an_arena_that_no_hint_got() -> None:
    """In uml-6.1, after 128 hints."""
    modern = Cell(guest="uml-6.1", limits=Limits(), policy="modern")
    seen = observe(record("modern-low"), modern)
    assert seen.contradictions == ()
    assert (seen.path, seen.outcome) == (ReservationPath.LOW, Outcome.ALLOCATES)
    first, _, last = seen.evidence["trace"].partition("126 more; ")
    assert first.startswith("64M --- at 0xc000000000: moved, 0x405f9000, unmapped; 64M --- at 0x1c")
    assert last.startswith("128M --- at anywhere: placed, 0x405f9000, unmapped")
    lie = bent("modern-low", "report", '"arena_start":', '"arena_start":6')
    against = observe(lie, modern).contradictions
    assert samples.says(against, Code.REPORT_INCONSISTENT, "arena_used")
    of_2012 = observe(
        record("modern-low"), Cell(guest="uml-6.1", limits=Limits(), policy="after")
    ).contradictions
    assert samples.says(of_2012, Code.REPORT_VS_CELL, "policy", "modern", "after")


def test_three_witnesses_agree_with_pointers_of_four_bytes() -> None:
    """An i386 Python on a 64-bit kernel: mmap2, whose offsets are in pages, and 8 digits."""
    one = record("low-i386")
    seen = observe(one, pointers=4)
    assert seen.contradictions == ()
    assert (seen.path, seen.outcome) == (ReservationPath.LOW, Outcome.ALLOCATES)
    assert seen.evidence["trace"].startswith("768M --- at 0x5c200000: honoured, 0x5c200000")
    assert samples.says(observe(one).contradictions, Code.REPORT_VS_CELL, "pointer_size", "4", "8")
    large = dataclasses.replace(one, page_size=16 << 10)
    against = observe(large, pointers=4).contradictions
    assert samples.says(against, Code.REPORT_VS_CELL, "page_size", "4096", "16384")
    moved = (one.trace or b"").replace(b"= 0x5c200000", b"= 0x5c300000")
    told = observe(dataclasses.replace(one, trace=moved), pointers=4).contradictions
    shown = "mmap2(0x5c200000, 805306368, PROT_NONE"
    assert samples.says(told, Code.REPORT_VS_TRACE, shown), told


def bent(path: str, what: str, old: str, new: str) -> Record:
    """A record in which one witness says something else."""
    one = record(path)
    if what == "report":
        assert old.encode() in one.stdout
        return dataclasses.replace(one, stdout=one.stdout.replace(old.encode(), new.encode()))
    if what == "trace":
        assert old.encode() in (one.trace or b"")
        trace = (one.trace or b"").replace(old.encode(), new.encode())
        return dataclasses.replace(one, trace=trace)
    assert old in one.maps["end"]
    maps = {moment: text.replace(old, new) for moment, text in one.maps.items()}
    return dataclasses.replace(one, maps=maps)


PROBE = '{"event":"call","name":"mmap","args":[1065151889408,65536,0,34],"result":1065151889408}'
MOVED = "mmap(0xf800000000, 65536, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0xf800000000"


@pytest.mark.parametrize(
    ("path", "what", "old", "new", "code", "values"),
    [
        ("high", "report", f"{PROBE}\n", "", Code.REPORT_VS_TRACE, [MOVED]),
        (
            "high",
            "report",
            PROBE,
            PROBE.replace("65536", "131072"),
            Code.REPORT_VS_TRACE,
            ["mmap(0xf800000000, 0x20000, 0x0, 0x22) = 0xf800000000", MOVED],
        ),
        (
            "high",
            "report",
            PROBE,
            PROBE.replace('"mmap"', '"munmap"')
            .replace(",0,34", "")
            .replace('"result":1065151889408', '"result":0'),
            Code.REPORT_VS_TRACE,
            [MOVED],
        ),
        (
            "low",
            "trace",
            "671088640, PROT_NONE",
            "671088640, PROT_READ",
            Code.REPORT_VS_TRACE,
            ["mmap("],
        ),
        ("low", "trace", "= 0x405d9000", "= 0x505d9000", Code.REPORT_VS_TRACE, ["= 0x505d9000"]),
        ("low", "maps", "04c00000-", "04c01000-", Code.MAPS_VS_TRACE, ["end", "4c01000-"]),
        (
            "low",
            "trace",
            "exited with 0",
            "exited with 1",
            Code.TRACE_VS_ENDING,
            ["exited with 0", "exited with 1"],
        ),
        ("low", "trace", "+++ exited with 0 +++\n", "", Code.TRACE_INCOMPLETE, []),
        ("low", "trace", "+++ exited", "+++ left", Code.TRACE_UNREADABLE, ["+++ left"]),
    ],
)
def test_quotes_both_witnesses_of_a_lie(
    path: str, what: str, old: str, new: str, code: Code, values: list[str]
) -> None:
    seen = observe(bent(path, what, old, new))
    assert samples.says(seen.contradictions, code, *values), seen.contradictions
    assert seen.outcome is None, "no witness is believed"


def test_memory_that_the_trace_does_not_account_for() -> None:
    one = record("high")
    stray = "7000000000-7010000000 rw-p 00000000 00:00 0 \n"
    maps = {}
    for moment, text in one.maps.items():
        lines = [*text.splitlines(keepends=True), stray]
        maps[moment] = "".join(sorted(lines, key=lambda line: int(line.partition("-")[0], 16)))
    seen = observe(dataclasses.replace(one, maps=maps))
    assert samples.codes(seen.contradictions) == [Code.MAPS_VS_TRACE] * 2
    assert "7000000000-7010000000 rw-p" in seen.contradictions[0].text
