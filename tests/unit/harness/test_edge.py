"""Looking for an edge by bisection: found where there is one, doubted where there are several."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.threshold.bisection import (
    HIGH,
    LOW,
    Edge,
    Probe,
    Search,
    Threshold,
    about,
    search,
)

MIB = 1 << 20


@given(st.integers(LOW + 1, HIGH))
@example(LOW + 1)
@example(HIGH)
def test_an_edge_is_found_to_a_64th_of_itself(edge: int) -> None:
    asked: list[int | None] = []

    def starts(size: int | None) -> bool:
        asked.append(size)
        return size is None or size >= edge

    found = search(starts)
    assert found.edge is Edge.FOUND
    assert found.smallest
    assert found.largest
    assert found.largest < edge <= found.smallest
    assert found.smallest - found.largest <= max(4096, found.largest // 64)
    assert [each.size for each in found.probes] == asked
    assert len(asked) < 30


@given(st.integers(64 * MIB, 4096 * MIB), st.sampled_from([4096, MIB, 8 * MIB]))
def test_as_precisely_as_one_asks(edge: int, precision: int) -> None:
    found = search(lambda size: size is None or size >= edge, precision=precision)
    assert found.smallest
    assert found.largest
    assert found.largest < edge <= found.smallest <= found.largest + precision


@pytest.mark.parametrize(
    ("starts", "edge", "smallest", "largest", "told"),
    [
        (lambda size: True, Edge.BELOW, LOW, None, "at most 1M"),
        (lambda size: size is None, Edge.ABOVE, None, HIGH, "more than 64G"),
        (lambda size: False, Edge.NEVER, None, HIGH, str(Edge.NEVER)),
        (lambda size: size is not None, Edge.SEVERAL, LOW, None, f"1M; it {Edge.SEVERAL}"),
    ],
)
def test_where_there_is_no_edge(
    starts: object, edge: Edge, smallest: int | None, largest: int | None, told: str
) -> None:
    found = search(starts)  # type: ignore[arg-type]
    assert (found.edge, found.smallest, found.largest) == (edge, smallest, largest)
    assert str(Threshold("g", "s", "", "rlimit_as", found)) == told


def test_a_hole_above_the_edge_is_seen() -> None:
    """As with memlimit's reservation: enough, too little again, and enough once more."""
    hole = range(2 << 30, 6 << 30)
    found = search(lambda size: size is None or (size >= 300 * MIB and size not in hole))
    assert found.edge is Edge.SEVERAL
    assert any(not each.starts and each.size and each.size >= 300 * MIB for each in found.probes)


def test_ends_that_are_exchanged() -> None:
    with pytest.raises(UsageError, match="must be below"):
        search(lambda size: True, 2 * MIB, MIB)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (688 * MIB, "688M"),
        (64 << 30, "64G"),
        (4096, "4K"),
        (72 * MIB + 4096, "72.0M"),
        (1500 * MIB + (512 << 10), "1500.5M"),
    ],
)
def test_sizes_as_people_say_them(size: int, told: str) -> None:
    assert about(size) == told


def test_a_threshold_in_words() -> None:
    found = Search(Edge.FOUND, 688 * MIB, 680 * MIB, (Probe(None, True),))
    assert str(Threshold("native", "go-hello", "", "rlimit_as", found)) == "688M (not under 680M)"


def test_two_sizes_that_look_alike_are_told_in_full() -> None:
    found = Search(Edge.FOUND, 2340 << 10, 2336 << 10, ())
    told = str(Threshold("native", "p", "", "rlimit_as", found))
    assert told == "2340K (not under 2336K)"
