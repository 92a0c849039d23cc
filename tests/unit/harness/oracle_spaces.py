"""Address spaces in which the oracle is compared with the allocator on a model of a kernel."""

from __future__ import annotations

from dataclasses import replace

from foothold_lab.harness import oracle
from foothold_lab.harness.model.facts import Facts, Hint
from foothold_lab.harness.oracle import modelled
from tests.unit.harness.samples import HIGH, facts

LOW = {pointer: modelled.low_arena(pointer) for pointer in (4, 8)}
# addresses at which a policy decides
INTERESTING = [
    LOW[8].start,
    LOW[4].start,
    HIGH,
    HIGH + (1 << 30),
    0xC0 << 32,
    0x40 << 32,
    0x40000000,
    0x80000000,
    1 << 32,
]


def space_of(size: int, page: int, pointer_size: int = 8, *, upward: bool = False) -> Facts:
    """Return the facts of an address space of `size` bytes. `page` and `pointer_size` are in bytes."""
    first = 0x40000000 if upward else size - (256 << 20)
    high = HIGH if size >= HIGH + 65536 else first
    return replace(
        facts(size, high=high, pointer_size=pointer_size),
        page_size=page,
        placement="bottom-up" if upward else "top-down",
        first=first,
        hint_low=Hint(0x10000000, 0x10000000, 0),
    )


def empty_process(pointer_size: int) -> oracle.Process:
    """Return a process that has mapped nothing before it reserves."""
    return oracle.Process(size=0, data=0, unsure=0, low=LOW[pointer_size])
