"""What lies where, and where it stands in the drawing."""

from __future__ import annotations

import dataclasses
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.evidence.allocator_report import Report, Reserved
from foothold_lab.harness.evidence.maps import MappedRange, parse_maps
from foothold_lab.harness.evidence.strace import SubjectTrace
from foothold_lab.harness.html_report import address_map
from foothold_lab.harness.html_report.address_map import LEFT, RIGHT, Axis, draw, rounded_size
from foothold_lab.harness.html_report.ledger import MAX_ROWS, requests, table
from foothold_lab.harness.html_report.read import Evidence, read_evidence, read_run
from foothold_lab.harness.html_report.space import RegionKind, Segment, arena_of, segments
from foothold_lab.harness.model.ledger import Map, Reservation, replay
from foothold_lab.harness.model.limits import Range
from tests.unit.harness import samples
from tests.unit.html_report import runs

ANONYMOUS = frozenset({"PRIVATE", "ANONYMOUS"})
NARROW, WIDE = samples.facts(runs.UML), samples.facts(0x7FFFFFFFF000)
AXIS = Axis.of([NARROW, WIDE])


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evidence]:
    run = read_run(runs.write(tmp_path_factory.mktemp("run") / "run", runs.events()))
    cells = {"high": runs.NATIVE, "low": runs.LOW, "refused": runs.REFUSED}
    return {name: read_evidence(run, cell.id, reports=True) for name, cell in cells.items()}


def where(space: tuple[Segment, ...], kind: RegionKind) -> list[tuple[int, int]]:
    return [(each.start, each.end) for each in space if each.kind is kind]


def test_the_low_arena_is_cut_at_its_seams(evidence: dict[str, Evidence]) -> None:
    space = segments(evidence["low"])
    assert where(space, RegionKind.ARENA) == [(0xCC00000, 0xD200000)]
    assert where(space, RegionKind.BITMAP) == [(0xCBA0000, 0xCC00000)]
    assert where(space, RegionKind.RESERVED) == [(0x4C00000, 0xCBA0000), (0xD200000, 0x2CC00000)]
    assert where(space, RegionKind.IMAGE)[0][0] == 0x400000
    (library,) = (each for each in space if each.kind is RegionKind.LIBRARY)
    assert "libc.so.6" in library.names
    assert len(where(space, RegionKind.STACK)) == len(where(space, RegionKind.HEAP)) == 1


def test_the_high_arena_stands_where_it_always_has(evidence: dict[str, Evidence]) -> None:
    space = segments(evidence["high"])
    assert where(space, RegionKind.ARENA)[0][0] == 0xF840000000
    assert where(space, RegionKind.BITMAP)[0][1] == 0xF840000000


def test_every_mapped_byte_is_told_once(evidence: dict[str, Evidence]) -> None:
    for name in ("high", "low"):
        told = sum(each.mapped for each in segments(evidence[name]))
        maps = list(evidence[name].maps.values())[-1]
        assert told == sum(each.length for each in maps)


def test_without_maps_the_trace_says_what_is_there() -> None:
    steps = [
        Map(
            Reservation(
                requested=0, length=64 << 20, protection="---", flags=ANONYMOUS, granted=0x40000000
            ),
            "mmap",
        ),
        Map(
            Reservation(
                requested=0,
                length=8192,
                protection="r-x",
                flags=frozenset({"PRIVATE"}),
                granted=0x50000000,
            ),
            "mmap",
        ),
        Map(
            Reservation(
                requested=0, length=4096, protection="rw-", flags=ANONYMOUS, granted=0x60000000
            ),
            "mmap",
        ),
    ]
    space = segments(Evidence(address_space=replay(steps)))
    assert [each.kind for each in space] == [
        RegionKind.RESERVED,
        RegionKind.LIBRARY,
        RegionKind.OTHER,
    ]


def test_an_arena_that_cannot_be_is_not_drawn() -> None:
    claim = Reserved(
        path="low",
        base=5,
        length=-1,
        bitmap=4,
        bitmap_size=0,
        arena_start=3,
        arena_used=2,
        arena_end=1 << 70,
    )
    assert arena_of(Report(events=(claim,))) is None
    assert arena_of(None) is None


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("00400000-00500000 r-xp 00000000 00:11 5 /bin/prog", RegionKind.IMAGE),
        ("00400000-00500000 r--p 00000000 00:11 5 /lib/libx-1.2.so.3.4", RegionKind.LIBRARY),
        ("00400000-00500000 r--p 00000000 00:11 5 /lib/ld-linux.so.2", RegionKind.LIBRARY),
        ("00400000-00500000 r--p 00000000 00:11 5 /usr/share/some data.jar", RegionKind.FILE),
        ("00400000-00500000 rw-p 00000000 00:00 0 [heap]", RegionKind.HEAP),
        ("00400000-00500000 rw-p 00000000 00:00 0 [stack]", RegionKind.STACK),
        ("00400000-00500000 r-xp 00000000 00:00 0 [vdso]", RegionKind.KERNEL),
        ("00400000-00500000 rw-p 00000000 00:00 0", RegionKind.OTHER),
        ("00400000-04500000 rw-p 00000000 00:00 0", RegionKind.LARGE),
        ("00400000-04500000 ---p 00000000 00:00 0", RegionKind.RESERVED),
    ],
)
def test_kinds(line: str, kind: RegionKind) -> None:
    maps: dict[str, tuple[MappedRange, ...]] = {"end": parse_maps(f"{line}\n")}
    assert [each.kind for each in segments(Evidence(maps=maps))] == [kind]


@given(st.lists(st.integers(min_value=0, max_value=(1 << 64) - 1), min_size=2))
def test_the_axis_keeps_order_and_stays_on_the_paper(addresses: list[int]) -> None:
    places = [AXIS.x(each) for each in sorted(addresses)]
    assert places == sorted(places)
    assert all(LEFT <= place <= RIGHT for place in places)


def test_sixteen_times_is_one_tick() -> None:
    ticks = list(address_map.ticks(AXIS))
    assert [tick.text for tick in ticks[:4]] == ["4K", "64K", "1M", "16M"]
    steps = [b.x - a.x for a, b in pairwise(ticks)]
    assert max(steps) - min(steps) < 0.001


def test_a_moved_hint_is_an_arrow(evidence: dict[str, Evidence]) -> None:
    low = evidence["low"]
    drawn = draw(AXIS, NARROW, segments(low), requests(low), arena_of(low.report))
    probe, arena = drawn.requests
    assert (probe.answer, arena.answer) == ("moved", "honoured")
    assert probe.asked == AXIS.x(0xF800000000)
    assert probe.given == AXIS.x(0x405D9000)
    assert probe.asked > AXIS.x(NARROW.task_size) > probe.given
    assert arena.asked == arena.given == AXIS.x(0x4C00000)
    assert [lane.name for lane in drawn.lanes] == [
        "runtime",
        "program",
        "libraries",
        "other",
        "stack",
    ]
    assert drawn.zoom is not None
    assert drawn.zoom.labels[1].text == "0xcc00000: arena, 512M, 6M used"
    beyond = next(hatch for hatch in drawn.hatches if hatch.kind == "beyond")
    assert beyond.x == AXIS.x(NARROW.task_size)
    assert beyond.x + beyond.width == RIGHT


def test_a_heap_that_grows_is_one_request(evidence: dict[str, Evidence]) -> None:
    high = evidence["high"]
    drawn = draw(AXIS, WIDE, segments(high), requests(high), arena_of(high.report))
    assert drawn.more == 0
    assert any(re.search(r"and \d+ more nearby", each.labels[0].text) for each in drawn.requests)


def test_what_was_refused_or_occupied_is_hatched() -> None:
    refused = Reservation(
        requested=0x10000000,
        length=640 << 20,
        protection="---",
        flags=ANONYMOUS,
        granted=None,
        errno="ENOMEM",
    )
    drawn = draw(AXIS, NARROW, (), (refused,), None, [Range(0xC000000000, 0xC100000000)])
    kinds = {hatch.kind: hatch for hatch in drawn.hatches}
    assert set(kinds) == {"below", "beyond", "occupied"}
    assert kinds["occupied"].x == AXIS.x(0xC000000000)
    (request,) = drawn.requests
    assert request.given is None
    assert request.asked == AXIS.x(0x10000000)
    assert request.width == AXIS.x(0x10000000 + (640 << 20)) - request.asked
    assert request.labels[0].text == "640M --- at 0x10000000: refused, ENOMEM"


def test_nothing_leaves_the_paper() -> None:
    wild = tuple(
        Segment(kind=kind, start=start, end=start + 4096, mapped=4096, protections=("rw-",))
        for kind in RegionKind
        for start in (0, 4096, NARROW.task_size - 4096, (1 << 63) - 4096)
    )
    asked = tuple(
        Reservation(
            requested=at,
            length=size,
            protection="rw-",
            flags=ANONYMOUS,
            granted=given,
            errno="" if given is not None else "ENOMEM",
        )
        for at in (1, 1 << 63)
        for size in (0, 1 << 62)
        for given in (None, 0, 1 << 63)
    )
    drawn = draw(AXIS, NARROW, wild, asked)
    blocks = [block for lane in drawn.lanes for block in lane.blocks]
    assert all(each.x >= LEFT and each.x + each.width <= RIGHT + 0.01 for each in blocks)
    assert len(drawn.requests) <= address_map.MAX_REQUESTS


def test_the_ledger_tells_what_the_program_did_then(evidence: dict[str, Evidence]) -> None:
    told = table(evidence["low"])
    assert told is not None
    assert told.source == "the trace"
    probe, arena, *_ = told.rows
    assert (probe.asked, probe.size, probe.answer) == ("0xf800000000", "64K", "moved")
    assert probe.reaction
    assert (arena.given, arena.fate) == ("0x4c00000", "replaced by MAP_FIXED, kept")
    assert "small requests" in told.omitted


def test_without_a_trace_the_report_or_the_maps_are_the_ledger(
    evidence: dict[str, Evidence],
) -> None:
    untraced = dataclasses.replace(evidence["low"], subject_trace=None)
    told = table(untraced)
    assert told is not None
    assert told.source == "the report of the subject"
    assert told.rows[0].asked == "0xf800000000"
    maps = table(Evidence(maps=evidence["low"].maps))
    assert maps is not None
    assert "maps" in maps.source
    assert maps.rows[0].asked == "unknown"
    assert table(Evidence()) is None


def test_a_program_that_asks_without_end_is_bounded() -> None:
    steps = [
        Map(
            Reservation(
                requested=0x400000000000 + (n << 28),
                length=64 << 20,
                protection="---",
                flags=ANONYMOUS,
                granted=0x64000000,
            ),
            "",
        )
        for n in range(5000)
    ]
    subject_trace = SubjectTrace(steps=tuple(steps), programs=("prog",), ending="killed by SIGKILL")
    endless = Evidence(subject_trace=subject_trace, address_space=replay(steps))
    told = table(endless)
    assert told is not None
    assert len(told.rows) == MAX_ROWS
    assert told.omitted == f"{5000 - MAX_ROWS} similar requests"
    drawn = draw(AXIS, NARROW, segments(endless), requests(endless))
    assert len(drawn.requests) + drawn.more < 20


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (4096, "4K"), (6291456, "6M"), (17 << 30, "17G"), (6082560, "5.8M")],
)
def test_sizes_as_people_say_them(size: int, text: str) -> None:
    assert rounded_size(size) == text
