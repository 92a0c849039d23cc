"""The maps: reading them strictly, and seeing the path in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.evidence.arena_detection import ARENA as SPARSE
from foothold_lab.harness.evidence.arena_detection import detect_path
from foothold_lab.harness.evidence.maps import (
    LARGEST,
    MappedRange,
    MapsError,
    is_usable,
    parse_maps,
)
from foothold_lab.harness.model.verdict import ReservationPath
from tests.unit.harness.samples import RECORDED

MIB = 1 << 20
ARENA = 0xF840000000


def written(mappings: list[MappedRange]) -> str:
    """What the kernel writes for these: names begin in column 74."""
    lines = []
    for each in mappings:
        line = f"{each.start:08x}-{each.end:08x} {each.permissions} {each.offset:08x} 00:00 0 "
        lines.append(f"{line:<73}{each.name}" if each.name else line)
    return "".join(f"{line}\n" for line in lines)


def low(base: int = 0x2500000, heap: int = MIB, bitmap: int = 64 << 10) -> list[MappedRange]:
    arena, end = base + 128 * MIB, base + 640 * MIB
    return [
        MappedRange(start=base, end=arena - bitmap, permissions="---p", offset=0),
        MappedRange(start=arena - bitmap, end=arena + heap, permissions="rwxp", offset=0),
        MappedRange(start=arena + heap, end=end, permissions="---p", offset=0),
    ]


names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
permissions = st.sampled_from(["r--p", "rw-p", "r-xp", "rwxp", "---p", "rw-s", "r--s"])


@st.composite
def mappings(draw: st.DrawFn) -> list[MappedRange]:
    edges = sorted(draw(st.sets(st.integers(0, (1 << 52) - 1), max_size=20)))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return [
        MappedRange(
            start=start << 12,
            end=end << 12,
            permissions=draw(permissions),
            offset=draw(st.integers(0, 1 << 40)),
            name=draw(st.one_of(st.just(""), names)),
        )
        for start, end in pairs
    ]


@given(mappings())
def test_maps_read_as_they_were_written(there: list[MappedRange]) -> None:
    assert parse_maps(written(there)) == tuple(there)


@given(st.text(max_size=200))
def test_garbage_is_an_error_in_words(text: str) -> None:
    try:
        parse_maps(text)
    except MapsError as error:
        assert len(str(error)) < 1000
    else:
        assert text == ""


@given(mappings().filter(bool), st.integers(0), st.text(min_size=1, max_size=3))
def test_garbled_maps_never_raise_anything_else(
    there: list[MappedRange], at: int, text: str
) -> None:
    whole = written(there)
    at %= len(whole)
    try:
        parsed = parse_maps(whole[:at] + text + whole[at:])
        detect_path(parsed)
    except MapsError:
        pass


@pytest.mark.parametrize(
    "line",
    [
        "f840000000-f840100000 rwxp 00000000 00:00 0",  # cut: no newline
        "f840100000-f840000000 rwxp 00000000 00:00 0\n",
        "f840000000-f840000000 rwxp 00000000 00:00 0\n",
        "f840000000-f840100000 rwx 00000000 00:00 0\n",
        "f840000000-f840100000 rwxp 00000000 00:00 12\n",  # an inode without a name
        "-1-f840100000 rwxp 00000000 00:00 0\n",
        "f840000000-f840100000 rwxp 00000000 00:00 0\n\n",
        "1000-3000 r--p 0 00:00 0\n2000-4000 r--p 0 00:00 0\n",
        "F840000000-f840100000 rwxp 00000000 00:00 0\n",
        "11111111111111111-22222222222222222 rwxp 00000000 00:00 0\n",
    ],
)
def test_lines_that_no_kernel_writes(line: str) -> None:
    with pytest.raises(MapsError):
        parse_maps(line)


def test_endless_maps_are_refused_unread() -> None:
    with pytest.raises(MapsError, match="longer than"):
        parse_maps("x" * (LARGEST + 1))


@pytest.mark.parametrize(
    ("file", "path", "base"),
    [
        ("high-reserved", ReservationPath.HIGH, ARENA),
        ("high", ReservationPath.HIGH, ARENA),
        ("low-reserved", ReservationPath.LOW, 0x4C00000),
        ("low", ReservationPath.LOW, 0x4C00000),
    ],
)
def test_what_real_kernels_showed(file: str, path: ReservationPath, base: int) -> None:
    seen = detect_path(parse_maps((RECORDED / f"{file}.maps").read_text()))
    assert (seen.path, seen.base) == (path, base)


@pytest.mark.parametrize(
    ("there", "path"),
    [
        ([], None),
        (
            [MappedRange(start=ARENA - 0x10000, end=ARENA + MIB, permissions="rwxp", offset=0)],
            ReservationPath.HIGH,
        ),
        (
            [MappedRange(start=ARENA, end=ARENA + MIB, permissions="rw-p", offset=0)],
            None,
        ),  # 2012's heap is executable
        (
            [MappedRange(start=ARENA, end=ARENA + MIB, permissions="---p", offset=0)],
            None,
        ),  # reserved, not in use
        (
            [
                MappedRange(
                    start=ARENA, end=ARENA + MIB, permissions="rwxp", offset=0, name="/lib/x.so"
                )
            ],
            None,
        ),
        ([MappedRange(start=ARENA, end=ARENA + MIB, permissions="rwxs", offset=0)], None),
        (
            [MappedRange(start=ARENA - MIB, end=ARENA, permissions="rwxp", offset=0)],
            None,
        ),  # ends where it should begin
        (low(), ReservationPath.LOW),
        (low(0x10000), ReservationPath.LOW),
        (low(0x1_0000_0000), None),  # above 4 GiB
        (low()[1:], None),  # no bitmap reserved below
        (low()[:2], None),  # no tail
        ([low()[0], low()[2]], None),  # nothing in use between
        (
            [MappedRange(start=0x2500000, end=0x2500000 + 640 * MIB, permissions="---p", offset=0)],
            None,
        ),
        (
            [MappedRange(start=0x2500000, end=0x2500000 + 640 * MIB, permissions="rwxp", offset=0)],
            ReservationPath.LOW_GROWN,
        ),
        (low(heap=512 * MIB - 4096, bitmap=32 * MIB), ReservationPath.LOW),
        (low(bitmap=33 * MIB, heap=511 * MIB), ReservationPath.LOW_GROWN),
        (
            [*low(), MappedRange(start=ARENA, end=ARENA + MIB, permissions="rwxp", offset=0)],
            None,
        ),  # both: neither
    ],
)
def test_the_path_is_seen_in_the_maps_alone(
    there: list[MappedRange], path: ReservationPath | None
) -> None:
    seen = detect_path(there)
    assert seen.path is path
    assert seen.evidence


@given(mappings())
def test_no_path_without_an_arena(there: list[MappedRange]) -> None:
    seen = detect_path(there)
    if seen.path is ReservationPath.HIGH:
        assert any(each.start <= ARENA < each.end for each in there)
    if seen.path in (ReservationPath.LOW, ReservationPath.LOW_GROWN):
        assert sum(each.length for each in there if each.end <= 1 << 32) >= 640 * MIB


def test_usable_is_all_of_it_or_not() -> None:
    there = [
        MappedRange(start=0x1000, end=0x2000, permissions="rw-p", offset=0),
        MappedRange(start=0x2000, end=0x3000, permissions="rwxp", offset=0),
        MappedRange(start=0x3000, end=0x4000, permissions="r--p", offset=0),
        MappedRange(start=0x5000, end=0x6000, permissions="rw-p", offset=0),
    ]
    assert is_usable(there, 0x1000, 0x3000)
    assert is_usable(there, 0x1800, 0x2800)
    assert not is_usable(there, 0x1000, 0x3001)
    assert not is_usable(there, 0x0, 0x2000)
    assert not is_usable(there, 0x2000, 0x6000)
    assert not is_usable([], 0x1000, 0x2000)


def test_a_probe_gone_astray_right_below_the_reservation_is_not_part_of_it() -> None:
    """As in UML with hints ignored (seen): both are PROT_NONE, so the kernel joins them."""
    text = (
        "405d9000-48589000 ---p 00000000 00:00 0 \n48589000-48be9000 rwxp 00000000 00:00 0 \n"
        "48be9000-685e9000 ---p 00000000 00:00 0 \n685e9000-68629000 rwxp 00000000 00:00 0 \n"
    )
    seen = detect_path(parse_maps(text))
    assert (seen.path, seen.base) == (ReservationPath.LOW, 0x405E9000)


def test_a_smaller_low_arena_has_a_ninth_of_bitmap() -> None:
    """As memlimit makes it of 300M (seen): 112693248 bytes."""
    base, length = 0x2500000, 112_693_248
    arena = base + length // 9
    text = (
        f"{base:08x}-{arena - 0x60000:08x} ---p 00000000 00:00 0 \n"
        f"{arena - 0x60000:08x}-{arena + 0x600000:08x} rwxp 00000000 00:00 0 \n"
        f"{arena + 0x600000:08x}-{base + length:08x} ---p 00000000 00:00 0 \n"
    )
    seen = detect_path(parse_maps(text))
    assert (seen.path, seen.base) == (ReservationPath.LOW, base)
    other = text.replace(f"{base + length:08x}", f"{base + length + 4096:08x}")
    assert detect_path(parse_maps(other)).path is None


# the anonymous mappings of memlimit with grow:16M on UML 6.1, as observed
SMALL_RESERVATION = {
    "200M": """\
04c00000-04cc4000 ---p 00000000 00:00 0
04cc4000-04dd4000 rwxp 00000000 00:00 0
04dd4000-05374000 ---p 00000000 00:00 0
""",
    "210M": """\
04c00000-04de1000 ---p 00000000 00:00 0
04de1000-04ef1000 rwxp 00000000 00:00 0
04ef1000-05d79000 ---p 00000000 00:00 0
""",
}
OUTGROWN_RESERVATION = {
    "200M": """\
01056000-052d4000 rwxp 00000000 00:00 0
052d4000-05374000 ---p 00000000 00:00 0
405d9000-41499000 rwxp 00000000 00:00 0
""",
    "210M": """\
01215000-05cf1000 rwxp 00000000 00:00 0
05cf1000-05d79000 ---p 00000000 00:00 0
405d9000-40b99000 rwxp 00000000 00:00 0
""",
}


@pytest.mark.parametrize("limit", ["200M", "210M"])
def test_a_reservation_that_memlimit_made_small_can_be_outgrown(limit: str) -> None:
    reserved = detect_path(parse_maps(SMALL_RESERVATION[limit]), "memlimit")
    assert (reserved.path, reserved.base) == (ReservationPath.LOW, 0x4C00000)
    grown = detect_path(parse_maps(OUTGROWN_RESERVATION[limit]), "memlimit")
    assert (grown.path, grown.base) == (ReservationPath.LOW_GROWN, 0x4C00000)
    without_heap = OUTGROWN_RESERVATION[limit].rpartition("405d9000")[0]
    assert detect_path(parse_maps(without_heap), "memlimit").path is None
    assert detect_path(parse_maps(OUTGROWN_RESERVATION[limit]), "after").path is None


def test_with_pointers_of_four_bytes_the_low_reservation_is_768m() -> None:
    """As on i386 (seen): 256 MiB of bitmap, a byte of it for 8 of heap."""
    base = 0x8900000
    arena, end = base + 256 * MIB, base + 768 * MIB
    there = [
        MappedRange(start=base, end=arena - 128 * 1024, permissions="---p", offset=0),
        MappedRange(start=arena - 128 * 1024, end=arena + MIB, permissions="rwxp", offset=0),
        MappedRange(start=arena + MIB, end=end, permissions="---p", offset=0),
    ]
    seen = detect_path(there, pointers=4)
    assert (seen.path, seen.base) == (ReservationPath.LOW, base)
    assert "768M reserved at 0x8900000" in seen.evidence
    assert detect_path(there).base == base + 128 * MIB, "with pointers of 8 bytes it would be 640M"
    full = [
        MappedRange(start=base, end=arena - 65 * MIB, permissions="---p", offset=0),
        MappedRange(start=arena - 65 * MIB, end=end, permissions="rwxp", offset=0),
    ]
    assert detect_path(full, pointers=4).path is ReservationPath.LOW_GROWN
    assert detect_path([], pointers=4).evidence == "no arena: no 768M below 4G"


MOVED = """\
c7a92000-c7ad2000 rwxp 00000000 00:00 0
c7ad2000-d7a12000 ---p 00000000 00:00 0
d7a12000-d80d2000 rwxp 00000000 00:00 0
d80d2000-f7ad2000 ---p 00000000 00:00 0
f7ad2000-f7b52000 rw-p 00000000 00:00 0
"""
MOVED_AND_SHRUNK = """\
ed609000-ed649000 rwxp 00000000 00:00 0
ed649000-ee7b6000 ---p 00000000 00:00 0
ee7b6000-eee76000 rwxp 00000000 00:00 0
eee76000-f79de000 ---p 00000000 00:00 0
f79de000-f7a5e000 rw-p 00000000 00:00 0
"""


@pytest.mark.parametrize(
    ("text", "base"), [(MOVED, 0xC7AD2000), (MOVED_AND_SHRUNK, 0xED649000)], ids=["768M", "163M"]
)
def test_where_the_kernel_places_downward_the_tables_lie_right_below_what_it_moved(
    text: str, base: int
) -> None:
    """i386 on a 64-bit kernel, something being where the reservation was asked for (seen)."""
    seen = detect_path(parse_maps(text), pointers=4)
    assert (seen.path, seen.base) == (ReservationPath.LOW, base)


HINT, SECOND = 0xC000000000, 0x1C000000000
ARM64_HINT = 0x4000000000


@pytest.mark.parametrize(
    ("policy", "there", "path", "base"),
    [
        (
            "modern",
            [MappedRange(start=HINT, end=HINT + SPARSE, permissions="rw-p", offset=0)],
            ReservationPath.HIGH,
            HINT,
        ),
        (
            "modern",
            [MappedRange(start=SECOND, end=SECOND + SPARSE, permissions="rw-p", offset=0)],
            ReservationPath.HIGH,
            SECOND,
        ),
        # the kernel joins what lies beside it
        (
            "modern",
            [MappedRange(start=HINT - MIB, end=HINT + 2 * SPARSE, permissions="rw-p", offset=0)],
            ReservationPath.HIGH,
            HINT,
        ),
        (
            "modern-arm64",
            [MappedRange(start=ARM64_HINT, end=ARM64_HINT + SPARSE, permissions="rw-p", offset=0)],
            ReservationPath.HIGH,
            ARM64_HINT,
        ),
        (
            "modern",
            [MappedRange(start=ARM64_HINT, end=ARM64_HINT + SPARSE, permissions="rw-p", offset=0)],
            ReservationPath.LOW,
            ARM64_HINT,
        ),
        (
            "modern",
            [MappedRange(start=0x44000000 - MIB, end=0x48000000, permissions="rw-p", offset=0)],
            ReservationPath.LOW,
            0x44000000,
        ),
        (
            "modern",
            [
                MappedRange(
                    start=0x44000000 - MIB, end=0x48000000 - MIB, permissions="rw-p", offset=0
                )
            ],
            None,
            0,
        ),
        (
            "modern",
            [MappedRange(start=HINT, end=HINT + SPARSE - 4096, permissions="rw-p", offset=0)],
            None,
            0,
        ),
        (
            "modern",
            [MappedRange(start=HINT, end=HINT + SPARSE, permissions="---p", offset=0)],
            None,
            0,
        ),  # reserved, not in use
        (
            "modern",
            [MappedRange(start=HINT, end=HINT + SPARSE, permissions="rwxp", offset=0)],
            None,
            0,
        ),  # as in 2012
        (
            "modern",
            [
                MappedRange(
                    start=HINT, end=HINT + SPARSE, permissions="rw-p", offset=0, name="[heap]"
                )
            ],
            None,
            0,
        ),
        (
            "modern",
            [MappedRange(start=HINT, end=HINT + SPARSE, permissions="rw-s", offset=0)],
            None,
            0,
        ),
        ("modern", low(), None, 0),
        (
            "after",
            [MappedRange(start=HINT, end=HINT + SPARSE, permissions="rw-p", offset=0)],
            None,
            0,
        ),
    ],
)
def test_arenas_of_64m_at_a_hint_or_elsewhere(
    policy: str, there: list[MappedRange], path: ReservationPath | None, base: int
) -> None:
    seen = detect_path(there, policy)
    assert (seen.path, seen.base) == (path, base)
    assert seen.evidence


@pytest.mark.parametrize(
    ("joined", "path"),
    [(0, ReservationPath.LOW), (32 * MIB, ReservationPath.LOW), (1 << 12, ReservationPath.LOW)],
)
def test_a_committed_arena_is_seen_when_the_kernel_joins_it_with_another_mapping(
    joined: int, path: ReservationPath
) -> None:
    arena = 0x7F4F40000000
    there = [
        MappedRange(start=arena - joined, end=arena + 4 * MIB, permissions="rw-p", offset=0),
        MappedRange(start=arena + 4 * MIB, end=arena + SPARSE, permissions="---p", offset=0),
    ]
    seen = detect_path(there, "modern-1.24")
    assert (seen.path, seen.base) == (path, arena)


def test_less_than_4m_of_an_arena_in_use_is_not_committed() -> None:
    arena = 0x7F4F40000000
    there = [
        MappedRange(start=arena - 8 * MIB, end=arena + 2 * MIB, permissions="rw-p", offset=0),
        MappedRange(start=arena + 2 * MIB, end=arena + SPARSE, permissions="---p", offset=0),
    ]
    assert detect_path(there, "modern-1.24").path is None
