"""What becomes of reservations: replaced, unmapped, protected, moved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.model.ledger import (
    Answer,
    Map,
    Protect,
    Remap,
    Reservation,
    ReservationState,
    Step,
    Unmap,
    flags_of,
    protection_of,
    replay,
)

PAGE = 4096
ANYWHERE = flags_of(0x22)


def mapped(at: int, pages: int, *, fixed: bool = False, protection: str = "---") -> Map:
    flags = flags_of(0x32 if fixed else 0x22)
    return Map(
        Reservation(
            requested=at * PAGE,
            length=pages * PAGE,
            protection=protection,
            flags=flags,
            granted=at * PAGE,
        )
    )


def test_words() -> None:
    assert flags_of(0x4022) == {"PRIVATE", "ANONYMOUS", "NORESERVE"}
    assert flags_of(0x22 | 1 << 30) == {"PRIVATE", "ANONYMOUS", "0x40000000"}
    assert [protection_of(bits) for bits in (0, 3, 7, 5)] == ["---", "rw-", "rwx", "r-x"]
    refused = Reservation(
        requested=0xF8 << 32,
        length=17 << 30,
        protection="---",
        flags=ANYWHERE,
        granted=None,
        errno="ENOMEM",
    )
    assert str(refused) == "17G --- at 0xf800000000: refused, ENOMEM"
    assert (refused.answer, refused.hinted, refused.notable) == (Answer.REFUSED, True, True)
    moved = Reservation(
        requested=0xF8 << 32,
        length=1 << 16,
        protection="rw-",
        flags=ANYWHERE,
        granted=1 << 30,
        states=(ReservationState.KEPT,),
    )
    assert str(moved) == "64K rw- at 0xf800000000: moved, 0x40000000, kept"
    assert (
        str(Reservation(requested=0, length=4096, protection="rw-", flags=ANYWHERE, granted=8192))
        == "4K rw- at anywhere: placed, 0x2000"
    )


def test_a_reservation_from_which_pieces_are_taken() -> None:
    steps: list[Step] = [
        mapped(100, 10),
        mapped(102, 2, fixed=True, protection="rwx"),
        Protect(start=105 * PAGE, length=PAGE, protection="rw-"),
        Unmap(108 * PAGE, 2 * PAGE),
    ]
    address_space = replay(steps)
    assert [each.states for each in address_space.ledger] == [
        (
            ReservationState.REPLACED,
            ReservationState.PROTECTED,
            ReservationState.UNMAPPED,
            ReservationState.KEPT,
        ),
        (ReservationState.KEPT,),
    ]
    assert [
        (p.start // PAGE, p.end // PAGE, p.protection, p.place) for p in address_space.layout
    ] == [
        (100, 102, "---", 0),
        (102, 104, "rwx", 1),
        (104, 105, "---", 0),
        (105, 106, "rw-", 0),
        (106, 108, "---", 0),
    ]


def test_a_kernel_with_larger_pages_takes_and_gives_whole_pages() -> None:
    """A munmap of 4 KiB at the start of a page unmaps all of it."""
    page = 16 << 10
    steps: list[Step] = [mapped(4, 5), Unmap(4 * PAGE, PAGE)]
    assert [(each.start, each.end) for each in replay(steps[:1], page_size=page).layout] == [
        (page, 3 * page)
    ]
    assert [(each.start, each.end) for each in replay(steps, page_size=page).layout] == [
        (2 * page, 3 * page)
    ]
    assert [(each.start, each.end) for each in replay(steps).layout] == [(5 * PAGE, 9 * PAGE)]


def test_mremap_moves() -> None:
    steps: list[Step] = [
        mapped(10, 4, protection="rw-"),
        Remap(start=10 * PAGE, length=4 * PAGE, new_start=50 * PAGE, new_length=8 * PAGE),
    ]
    address_space = replay(steps)
    assert [each.states for each in address_space.ledger] == [
        (ReservationState.UNMAPPED,),
        (ReservationState.KEPT,),
    ]
    assert [(p.start // PAGE, p.end // PAGE, p.protection) for p in address_space.layout] == [
        (50, 58, "rw-")
    ]


def test_mremap_may_keep_the_old_range() -> None:
    address_space = replay(
        [
            mapped(10, 4, protection="rw-"),
            Remap(
                start=10 * PAGE,
                length=4 * PAGE,
                new_start=50 * PAGE,
                new_length=4 * PAGE,
                keeps_old=True,
            ),
        ]
    )
    assert [each.states for each in address_space.ledger] == [(ReservationState.KEPT,)] * 2
    assert [(p.start // PAGE, p.end // PAGE) for p in address_space.layout] == [(10, 14), (50, 54)]


def test_mremap_of_a_mapping_of_the_kernel_is_not_a_request() -> None:
    """The vdso, for example, is code: nothing is known of its protection."""
    vdso = Remap(start=10 * PAGE, length=2 * PAGE, new_start=50 * PAGE, new_length=2 * PAGE)
    [moved] = replay([vdso]).ledger
    assert (moved.anonymous, moved.hinted, moved.notable) == (False, False, False)


AT, PAGES = st.integers(0, 40), st.integers(1, 9)
STEPS = st.lists(
    st.one_of(
        st.builds(lambda a, n: mapped(a, n, fixed=True, protection="rw-"), AT, PAGES),
        st.builds(lambda a, n: Unmap(a * PAGE, n * PAGE), AT, PAGES),
        st.builds(
            lambda a, n: Protect(start=a * PAGE, length=n * PAGE, protection="r--"), AT, PAGES
        ),
    ),
    max_size=25,
)


@given(STEPS)
def test_the_layout_is_what_page_by_page_would_give(steps: list[Step]) -> None:
    pages: dict[int, str] = {}
    for step in steps:
        if isinstance(step, Map):
            first, count = step.reservation.granted or 0, step.reservation.length
        else:
            assert isinstance(step, Unmap | Protect)
            first, count = step.start, step.length
        for page in range(first // PAGE, (first + count) // PAGE):
            if isinstance(step, Map):
                pages[page] = step.reservation.protection
            elif isinstance(step, Unmap):
                pages.pop(page, None)
            elif page in pages:
                pages[page] = step.protection
    address_space = replay(steps)
    told = {
        page: piece.protection
        for piece in address_space.layout
        for page in range(piece.start // PAGE, piece.end // PAGE)
    }
    assert told == pages
    assert sum(piece.end - piece.start for piece in address_space.layout) == len(pages) * PAGE
    assert list(address_space.layout) == sorted(address_space.layout, key=lambda piece: piece.start)
    held = {piece.place for piece in address_space.layout}
    for place, reservation in enumerate(address_space.ledger):
        assert (ReservationState.KEPT in reservation.states) == (place in held)
