"""What no program can have: memory above the task size of its guest, which was measured at the boot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from foothold_lab.harness.evidence.maps import MappedRange
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.ledger import Map, Remap, Step

MOST = 3  # findings: the first says what is wrong
# pages of the kernel that every process has, some of them above the task size (gate_vma)
_OF_KERNEL = frozenset({"[vsyscall]", "[vdso]", "[vvar]", "[vectors]", "[sigpage]"})


def beyond_task_size(
    task_size: int,
    steps: Iterable[Step] = (),
    maps: Mapping[str, Sequence[MappedRange]] | None = None,
    claims: Mapping[str, int] | None = None,
) -> list[Finding]:
    """Return a finding for what ends above `task_size`: calls of the trace, ranges of the maps by
    checkpoint, ends of heaps that the report claims by checkpoint. A `task_size` of 0 is not known.
    """
    if not task_size:
        return []
    texts = (*_calls(steps, task_size), *_ranges(maps or {}, task_size),
             *_claims(claims or {}, task_size))  # fmt: skip
    known = f"the address space of this guest ends at {task_size:#x}."
    return [
        Finding(Code.BEYOND_TASK_SIZE, f"{text}; {known}")
        for text in islice(dict.fromkeys(texts), MOST)
    ]


def _calls(steps: Iterable[Step], task_size: int) -> Iterator[str]:
    for step in steps:
        match step:
            case Map() if step.reservation.granted is not None:
                end = step.reservation.granted + step.reservation.length
            case Remap():
                end = step.new_start + step.new_length
            case _:
                continue
        if end > task_size:
            yield f"The trace shows `{step.line}`"


def _ranges(maps: Mapping[str, Sequence[MappedRange]], task_size: int) -> Iterator[str]:
    for checkpoint, ranges in maps.items():
        for each in reversed(ranges):  # in order of their addresses
            if each.end <= task_size:
                break
            if each.name not in _OF_KERNEL:
                yield f"The maps at `{checkpoint}` show {each}"


def _claims(claims: Mapping[str, int], task_size: int) -> Iterator[str]:
    for checkpoint, end in claims.items():
        if end > task_size:
            yield f"The report claims a heap up to {end:#x} at `{checkpoint}`"
