"""Bisection: finds one edge, and reports several."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

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
    grid,
    search,
    sweep,
)
from foothold_lab.harness.threshold.drawing import draw_svg, draw_text

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
    assert len(tried) < 60


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
        (
            lambda size: size is not None,
            Edge.SEVERAL,
            LOW,
            None,
            f"1M, not monotonic: it {Edge.SEVERAL}",
        ),
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
    assert "not monotonic" in str(threshold(found))


def javascript(size: int | None) -> bool:
    """A runtime with two bands of deaths above a gigabyte, as it was measured."""
    deaths = range(1100 * MIB, 1500 * MIB), range(2000 * MIB, 2600 * MIB)
    return size is None or (size >= 368 * MIB and not any(size in each for each in deaths))


def test_sees_bands_of_deaths_far_above_the_edge() -> None:
    found = search(javascript)
    assert found.edge is Edge.SEVERAL
    assert [each.starts for each in found.bands] == [False, True, False, True, False, True]


def test_sees_a_hole_although_it_starts_under_the_lowest() -> None:
    found = search(javascript, 512 * MIB, 8192 * MIB)
    assert (found.edge, found.smallest) == (Edge.SEVERAL, 512 * MIB)


def test_a_sweep_finds_every_edge() -> None:
    found = sweep(javascript, 64 * MIB, 8192 * MIB)
    assert found.edge is Edge.SEVERAL
    edges = [each.first for each in found.bands[1:]]
    assert len(edges) == 5
    for edge, true in zip(edges, (368, 1100, 1500, 2000, 2600), strict=True):
        assert true * MIB <= edge <= true * MIB * 65 // 64
    assert found.bands[-1].last == 8192 * MIB


def test_a_fine_sweep_finds_a_hole_of_one_percent() -> None:
    """The policy memlimit has one between 192.56 and 194.8 MiB."""
    hole = range(int(192.56 * MIB), int(194.8 * MIB))
    found = sweep(
        lambda size: size is None or (size >= 180 * MIB and size not in hole),
        150 * MIB,
        250 * MIB,
        per_doubling=64,
        precision=64 << 10,
    )
    assert [each.starts for each in found.bands] == [False, True, False, True]
    assert abs(found.bands[2].first - hole.start) <= 64 << 10
    assert abs(found.bands[3].first - hole.stop) <= 64 << 10


@pytest.mark.parametrize(
    ("starts", "edge"),
    [
        (lambda size: True, Edge.BELOW),
        (lambda size: size is None, Edge.ABOVE),
        (lambda size: False, Edge.NEVER),
        (lambda size: size is not None, Edge.SEVERAL),
        (lambda size: size is None or size > 300 * MIB, Edge.FOUND),
    ],
)
def test_a_sweep_agrees_with_a_search_without_holes(starts: object, edge: Edge) -> None:
    assert sweep(starts).edge is search(starts).edge is edge  # type: ignore[arg-type]


@given(st.integers(4096, 1 << 30), st.integers(2, 1 << 20), st.integers(1, 64))
def test_a_grid_has_both_ends_and_even_steps(low: int, factor: int, per_doubling: int) -> None:
    sizes = grid(low, low * factor, per_doubling)
    assert (sizes[0], sizes[-1]) == (low, low * factor)
    assert sizes == sorted(set(sizes))
    widest = 2 ** (1 / per_doubling)
    assert all(b - a <= a * (widest - 1) + 2 * 4096 for a, b in pairwise(sizes))


def test_rejects_a_grid_without_sizes() -> None:
    with pytest.raises(UsageError, match="at least one"):
        sweep(lambda size: True, per_doubling=0)


def test_draws_bands_as_text() -> None:
    strip, legend, *bands = draw_text(sweep(javascript, 64 * MIB, 8192 * MIB).bands)
    assert re.fullmatch(r"64M ·+▒*█+▒*·+▒*█+▒*·+▒*█+ 8G", strip)
    assert "starts" in legend
    assert bands[0].startswith("does not start from 64M to 36")
    assert [each.startswith("starts") for each in bands] == [False, True] * 3


def test_draws_bands_as_svg() -> None:
    found = sweep(javascript, 64 * MIB, 8192 * MIB)
    one = Threshold(guest="<native>", subject="a&b", policy="", kind="rlimit_as", search=found)
    root = ElementTree.fromstring(draw_svg([one]))
    kind = "{http://www.w3.org/2000/svg}rect"
    drawn = [each.get("class") for each in root.iter(kind)]
    assert drawn == ["dies", "starts"] * 3
    assert all(
        float(each.get("x", 0)) + float(each.get("width", 0)) < 900 for each in root.iter(kind)
    )
    assert "<native>" in "".join(root.itertext())


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
