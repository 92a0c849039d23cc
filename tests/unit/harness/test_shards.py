"""Shards: every cell is in exactly one, and guests stay together where that balances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.plan import Shard, find_plan, load_plan
from tests.unit.harness.samples import KNOWN


def cells(sizes: list[int], mixed: bool = False) -> tuple[Cell, ...]:
    """So many cells of each guest; `mixed`: not one guest after the other."""
    made = [
        Cell(guest=f"g{guest}", limits=Limits(rlimit_as=4096 * (n + 1)), policy="after")
        for guest, size in enumerate(sizes)
        for n in range(size)
    ]
    return tuple(sorted(made, key=lambda cell: str(cell.limits)) if mixed else made)


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 60), st.booleans())
def test_every_cell_is_in_exactly_one_shard(sizes: list[int], count: int, mixed: bool) -> None:
    whole = cells(sizes, mixed)
    parts = [Shard(number, count).select(whole) for number in range(1, count + 1)]
    together = [cell for part in parts for cell in part]
    assert len(together) == len(whole)
    assert set(together) == set(whole)
    for part in parts:
        assert len(part) <= 1.5 * len(whole) / count + 1
        mine = set(part)
        assert list(part) == [cell for cell in whole if cell in mine]  # the plan's order


@given(st.integers(1, 8), st.integers(1, 40))
def test_guests_of_equal_size_get_a_shard_each(guests: int, size: int) -> None:
    whole = cells([size] * guests)
    for number in range(1, guests + 1):
        assert {cell.guest for cell in Shard(number, guests).select(whole)} == {f"g{number - 1}"}


def test_a_guest_is_not_divided_for_a_few_cells() -> None:
    whole = cells([9, 11, 10])
    parts = [{cell.guest for cell in Shard(number, 3).select(whole)} for number in (1, 2, 3)]
    assert parts == [{"g0"}, {"g1"}, {"g2"}]


def test_divides_the_default_plan_into_three() -> None:
    whole = load_plan(find_plan("default"), KNOWN).cells()
    parts = [{cell.guest for cell in Shard(number, 3).select(whole)} for number in (1, 2, 3)]
    assert [len(part) for part in parts] == [2, 2, 6]  # no guest is divided


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "1/1001", "²/3"]
)
def test_rejects_a_bad_shard(text: str) -> None:
    with pytest.raises(UsageError, match="is not a shard") as error:
        Shard.parse(text)
    assert "2/5" in error.value.remedy


def test_a_shard_is_written_as_it_is_parsed() -> None:
    assert str(Shard.parse("2/5")) == "2/5"
