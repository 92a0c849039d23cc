"""Facts of address spaces that no guest has: each value, and where a value changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.errors import UndecidedError
from foothold_lab.harness.model.facts import Hint
from foothold_lab.harness.oracle import predict
from foothold_lab.harness.oracle.imagined import imagined_facts, under_limits
from foothold_lab.harness.oracle.policies import HIGH, PROBE

GIB = 1 << 30


def test_four_levels_of_page_tables_grant_the_high_address() -> None:
    found = imagined_facts(1 << 47, 8, bottom_up=False)
    assert (found.machine, found.pointer_size, found.page_size) == ("x86_64", 8, 4096)
    assert (found.task_size, found.lowest) == (1 << 47, 0x10000)
    assert (found.placement, found.first) == ("top-down", (1 << 47) - GIB)
    assert found.hint_high == Hint(HIGH, HIGH, 0)
    assert found.hint_low == Hint(0x10000000, 0x10000000, 0)
    assert found.hint_beyond == Hint(1 << 47, (1 << 47) - GIB, 0)
    assert (found.rlimit_as, found.rlimit_data) == (-1, -1)
    assert (found.rlimit_stack, found.rlimit_memlock) == (8 << 20, 8 << 20)
    assert (found.overcommit, found.commit_limit, found.committed, found.memory) == (0, -1, -1, -1)
    assert (found.aslr, found.aslr_bits, found.max_map_count) == (0, 0, 65530)


def test_uml_with_three_levels_places_from_below() -> None:
    found = imagined_facts(1 << 39, 8, bottom_up=True)
    assert (found.placement, found.first) == ("bottom-up", 0x40000000)
    assert found.hint_high == Hint(HIGH, 0x40000000, 0)


def test_32_bits_have_another_high_address() -> None:
    found = imagined_facts(0xC0000000, 4, bottom_up=False)
    assert found.machine == "i686"
    assert found.first == 0xC0000000 - 0x0C000000, "the gap is a sixteenth"
    assert found.hint_high == Hint(0xB0000000, 0xB0000000, 0)


@pytest.mark.parametrize(("missing", "granted"), [(0, True), (4096, False)])
def test_the_high_address_needs_room_for_the_probe(missing: int, granted: bool) -> None:
    found = imagined_facts(HIGH + PROBE - missing, 8, bottom_up=False)
    assert (found.hint_high.got == HIGH) is granted


def test_the_gap_is_of_whole_pages() -> None:
    found = imagined_facts((1 << 33) + 0x50000, 8, 64 << 10, bottom_up=False)
    assert (found.task_size - found.first) % (64 << 10) == 0
    assert found.task_size - found.first == 1 << 29


@pytest.mark.parametrize("page", [4096, 64 << 10])
def test_the_legacy_layout_begins_at_a_third(page: int) -> None:
    facts = imagined_facts(1 << 47, 8, page, bottom_up=False)
    found = under_limits(facts, Limits(legacy_layout=True), None)
    assert found.placement == "bottom-up"
    assert 0 <= (1 << 47) / 3 - found.first < page
    assert found.first % page == 0
    assert (found.commit_limit, found.committed) == (-1, -1)


def test_what_may_be_committed_is_all_of_the_limit() -> None:
    facts = imagined_facts(1 << 47, 8, bottom_up=False)
    found = under_limits(facts, Limits(), 5 << 20)
    assert (found.commit_limit, found.committed) == (5 << 20, 0)
    assert replace(found, commit_limit=-1, committed=-1) == facts


@pytest.mark.parametrize(("limit", "committed"), [(-1, 0), (8 * GIB, -1)])
def test_strict_overcommit_needs_both_figures(limit: int, committed: int) -> None:
    facts = imagined_facts(1 << 47, 8, bottom_up=False)
    facts = replace(facts, overcommit=2, commit_limit=limit, committed=committed, memory=8 * GIB)
    with pytest.raises(UndecidedError, match="what it may promise"):
        predict(facts, Limits(), "after")
