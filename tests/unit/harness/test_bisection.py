"""Bisection: finds one edge, and reports several."""

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


def threshold(found: Search) -> Threshold:
    return Threshold(guest="native", subject="go-hello", policy="", kind="rlimit_as", search=found)


def edge_between(largest: int, smallest: int) -> Search:
    probes = (Probe(None, True),)
    return Search(edge=Edge.FOUND, smallest=smallest, largest=largest, probes=probes)


@given(st.integers(LOW + 1, HIGH))
@example(LOW + 1)
@example(HIGH)
def test_finds_an_edge_to_a_64th_of_itself(edge: int) -> None:
    tried: list[int | None] = []

    def starts(size: int | None) -> bool:
        tried.append(size)
        return size is None or size >= edge

    found = search(starts)
    assert found.edge is Edge.FOUND
    assert found.smallest
    assert found.largest
    assert found.largest < edge <= found.smallest
    assert found.smallest - found.largest <= max(4096, found.largest // 64)
    assert [each.size for each in found.probes] == tried
    assert len(tried) < 30


@given(st.integers(64 * MIB, 4096 * MIB), st.sampled_from([4096, MIB, 8 * MIB]))
def test_finds_an_edge_to_the_given_precision(edge: int, precision: int) -> None:
    found = search(lambda size: size is None or size >= edge, precision=precision)
    assert found.smallest
    assert found.largest
    assert found.largest < edge <= found.smallest <= found.largest + precision


@pytest.mark.parametrize(
    ("starts", "edge", "smallest", "largest", "text"),
    [
        (lambda size: True, Edge.BELOW, LOW, None, "at most 1M"),
        (lambda size: size is None, Edge.ABOVE, None, HIGH, "more than 64G"),
        (lambda size: False, Edge.NEVER, None, HIGH, str(Edge.NEVER)),
        (lambda size: size is not None, Edge.SEVERAL, LOW, None, f"1M; it {Edge.SEVERAL}"),
    ],
)
def test_reports_that_there_is_no_edge(
    starts: object, edge: Edge, smallest: int | None, largest: int | None, text: str
) -> None:
    found = search(starts)  # type: ignore[arg-type]
    assert (found.edge, found.smallest, found.largest) == (edge, smallest, largest)
    assert str(threshold(found)) == text


def test_sees_a_hole_above_the_edge() -> None:
    """Like the reservation of the policy memlimit: it fits, does not fit, and fits again."""
    hole = range(2 << 30, 6 << 30)
    found = search(lambda size: size is None or (size >= 300 * MIB and size not in hole))
    assert found.edge is Edge.SEVERAL
    assert any(not each.starts and each.size and each.size >= 300 * MIB for each in found.probes)


def test_rejects_a_low_end_above_the_high_end() -> None:
    with pytest.raises(UsageError, match="must be below"):
        search(lambda size: True, 2 * MIB, MIB)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (688 * MIB, "688M"),
        (64 << 30, "64G"),
        (4096, "4K"),
        (72 * MIB + 4096, "72.0M"),
        (1500 * MIB + (512 << 10), "1500.5M"),
    ],
)
def test_rounds_sizes_for_people(size: int, text: str) -> None:
    assert about(size) == text


def test_formats_a_threshold_with_both_sizes() -> None:
    found = edge_between(680 * MIB, 688 * MIB)
    assert str(threshold(found)) == "688M (not under 680M)"


def test_does_not_round_two_sizes_to_the_same_text() -> None:
    found = edge_between(2336 << 10, 2340 << 10)
    assert str(threshold(found)) == "2340K (not under 2336K)"
