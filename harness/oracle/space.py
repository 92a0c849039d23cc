"""An address space as a subject finds it: facts and limits, joined. All in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from foothold_lab.harness.model.errors import UndecidedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.limits import DOCKER, Limits, Range
from foothold_lab.harness.model.sizes import format_size
from foothold_lab.harness.oracle.forms import FORMS, Process, process_of

BELOW_4G = 0xFFFFFFFF  # from here on, mappings are not taken as reserved
UNSURE = 8 << 20  # the committed memory of a kernel varies by that much
FEWEST_MAPS = 200  # such a Python has 55 mappings when it holds, and more on the way (measured)
FEWEST_FILES = 16  # it has at most 4 open at a time (measured)
FIRST_CALLS = 256 << 10  # the tables that come before the heap; without them it dies otherwise
LEAST_MEMORY = 32 << 20  # it touches 10 MiB, the default workload 7 more (measured)

# directories that are empty at the start of a subject: images/agent/subject_root.c
_WITHOUT_PROGRAMS = frozenset({"/tmp", "/var/tmp", "/run", "/root", "/home"})


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a limit leaves to the subject, and that limit in words.

    `reserved`: a reservation, PROT_NONE, counts as well. `data`: a mapping that replaces another
    is let pass, and counted from then on (Linux takes off what a MAP_FIXED replaces before it asks
    RLIMIT_DATA, of any kind: mmap_region). `sure` is how far from its end one has to be.
    """

    left: int
    words: str
    reserved: bool = False
    data: bool = False
    sure: int = 0


class Space:
    """What the kernel will answer, as far as facts and limits decide it."""

    def __init__(self, facts: Facts, limits: Limits, process: Process | None = None) -> None:
        self.facts = facts
        self.form = FORMS[facts.pointer_size]
        self.process = process or process_of(facts)
        self._limits = limits
        self._mapped: list[Range] = []  # by the subject, whole pages
        self._budgets = tuple(self._find_budgets())
        self._check()

    @property
    def rlimit_as(self) -> int | None:
        """The smallest RLIMIT_AS there is, None for none."""
        own = self.facts.rlimit_as
        ends = [each for each in (self._limits.rlimit_as, own) if each is not None and each >= 0]
        return min(ends, default=None)

    def lacks(self, reserved: int, used: int, *, largest: int = 1 << 20, last: int = 0) -> str:
        """Say which limit has no room for so much, reserved and used; empty if all have.

        `used` counts for every limit, `reserved` is what is reserved beyond it. `largest` is the
        largest single mapping among what is used, `last` the last one if that is within a
        reservation. Raises UndecidedError if it is too close.
        """
        for budget in self._budgets:
            spare = budget.left - used
            spare += (last if budget.data else 0) - (reserved if budget.reserved else 0)
            if abs(spare) < budget.sure:
                raise UndecidedError(
                    f"{budget.words}: too close to what is needed to foretell",
                    "take another value of that limit",
                )
            if spare < 0:
                return budget.words
        if self._overcommit == 0 and 0 <= self.facts.memory < largest:
            return f"overcommit mode 0 promises at most {format_size(self.facts.memory)} at once"
        return ""

    def refusal(self, address: int, length: int, nth: int) -> str:
        """Say why a mapping that asks for this address without MAP_FIXED does not get it; empty if
        it does. It is the subject's `nth` that asks so.
        """
        facts, limits = self.facts, self._limits
        if error := self.failure(nth):
            return f"the mapping that asks for {address:#x} fails with {error}"
        if address + length > facts.task_size:
            return f"{address:#x} lies beyond the task size {facts.task_size:#x}"
        if limits.hints_ignored and address in limits.hints_ignored:
            if self.elsewhere(length) == address:  # by chance the same
                return ""
            return f"the hint {address:#x} is ignored"
        hint = facts.hint_high if address > BELOW_4G else facts.hint_low
        if not hint.honoured and hint.asked + length <= facts.task_size:
            went = f"it gave {hint.got:#x}" if not hint.errno else f"errno {hint.errno}"
            return f"the kernel does not honour a hint such as {hint.asked:#x} ({went})"
        for each in limits.occupied:
            if each.meets(address, length):
                return f"{each} is occupied"
        for each in self._mapped:
            if each.meets(address, length):
                return f"the subject has already mapped {each}"
        return ""

    def failure(self, nth: int) -> str:
        """With which errno the subject's `nth` mapping that asks for an address fails, if it does,
        wherever that is.
        """
        return next((each.errno for each in self._limits.fail if each.fails(nth)), "")

    def taken(self, address: int, length: int) -> int:
        """How many bytes of a range are occupied."""
        end = address + length
        total = 0
        for each in self._used:
            total += max(0, min(end, each.end) - max(address, each.start))
        return total

    def whole_pages(self, length: int) -> int:
        """Return what the kernel maps for a request of so many bytes."""
        return -(-length // self.facts.page_size) * self.facts.page_size

    def map(self, address: int, length: int) -> None:
        """Note that the subject has mapped a range."""
        self._mapped.append(Range(address, address + self.whole_pages(length)))

    def place(self, length: int) -> int | None:
        """Map bytes where the kernel chooses, and return the address; None: nowhere."""
        address = self.elsewhere(length)
        if address is not None:
            self.map(address, length)
        return address

    @property
    def _used(self) -> list[Range]:
        """What limits occupy and the subject has mapped, in order and without overlap."""
        return sorted((*self._limits.occupied, *self._mapped))

    def elsewhere(self, length: int) -> int | None:
        """Return where the kernel places a mapping without a hint; None: nowhere."""
        facts = self.facts
        length = self.whole_pages(length)
        occupied = self._used
        if facts.placement == "bottom-up":
            return self._upward(length, facts.first, occupied)
        ceiling = min(facts.first + (64 << 10), facts.task_size)
        for each in reversed(occupied):
            if each.start < ceiling and ceiling - length < each.end:
                ceiling = each.start
        if ceiling - length >= facts.lowest:
            return ceiling - length
        # Linux then tries as if it placed upward (arch_get_unmapped_area_topdown)
        return self._upward(length, _whole(facts.task_size // 3, facts.page_size), occupied)

    def _upward(self, length: int, floor: int, occupied: Sequence[Range]) -> int | None:
        for each in occupied:
            if floor < each.end and each.start < floor + length:
                floor = each.end
        return floor if floor + length <= self.facts.task_size else None

    @property
    def _overcommit(self) -> int:
        asked = self._limits.overcommit
        return self.facts.overcommit if asked is None else asked

    def _find_budgets(self) -> Iterator[Budget]:
        facts, limits, process = self.facts, self._limits, self.process
        if (size := self.rlimit_as) is not None:
            own = process.size + sum(each.length for each in limits.occupied)
            words = f"RLIMIT_AS of {format_size(size)} less {format_size(own)} of its own"
            left = _whole(size, facts.page_size) - own
            yield Budget(left=left, words=words, reserved=True, sure=process.unsure)
        datas = [each for each in (limits.rlimit_data, facts.rlimit_data) if each not in (None, -1)]
        for size in datas:
            assert size is not None
            words = (
                f"RLIMIT_DATA of {format_size(size)} less {format_size(process.data)} of its own"
            )
            left = _whole(size, facts.page_size) - process.data
            yield Budget(left=left, words=words, data=True, sure=process.unsure)
        if self._overcommit == 2:
            if facts.commit_limit < 0 or facts.committed < 0:
                raise UndecidedError(
                    "overcommit mode 2, and the kernel does not say what it may promise",
                    "mount /proc in the guest",
                )
            left = facts.commit_limit - facts.committed - facts.memory // 32 - process.data
            words = f"overcommit mode 2 leaves {format_size(max(left, 0) >> 20 << 20)} to promise"
            yield Budget(left=left, words=words, sure=UNSURE)

    def _check(self) -> None:
        """Raise UndecidedError for limits under which something else than addresses decides."""
        limits = self._limits
        others = sorted(each.kind for each in limits.fail if not each.is_hinted)
        if others:
            raise UndecidedError(
                f"the oracle cannot tell whose the failing {others[0]} is: a loader and an "
                "interpreter make such calls as well",
                "take fail=hinted:N:ERRNO, or declare in the plan what is expected",
            )
        if refused := set(limits.exec_refused) - _WITHOUT_PROGRAMS:
            raise UndecidedError(
                f"the oracle does not know whether the interpreter maps files of {min(refused)}",
                "declare in the plan what is expected",
            )
        if limits.seccomp not in (None, DOCKER):
            raise UndecidedError(
                f"the oracle does not know which calls {limits.seccomp} refuses",
                "declare in the plan what is expected",
            )
        for doubt, remedy in self._shortages():
            raise UndecidedError(doubt, f"{remedy}, or declare in the plan what is expected")
        for budget in self._budgets:
            if budget.left < FIRST_CALLS:
                raise UndecidedError(
                    f"{budget.words}: the subject may not start, or die of its first table",
                    "allow more, or declare in the plan what is expected",
                )

    def _shortages(self) -> Iterator[tuple[str, str]]:
        """Yield what may be too little for an interpreter to start, and how much is enough."""
        limits = self._limits
        if limits.max_map_count is not None and limits.max_map_count < FEWEST_MAPS:
            yield (
                f"{limits.max_map_count} mappings may be too few for an interpreter to start",
                f"allow {FEWEST_MAPS}",
            )
        if limits.rlimit_nofile is not None and limits.rlimit_nofile < FEWEST_FILES:
            yield (
                f"{limits.rlimit_nofile} open files may be too few for an interpreter to start",
                f"allow {FEWEST_FILES}",
            )
        taken = (limits.hugepages or 0) * max(self.facts.huge_page_size, 0)
        memory = max(self.facts.memory - taken, 0)
        for size in (limits.memory, memory if limits.hugepages else None):
            if size is not None and size < LEAST_MEMORY:
                yield (
                    f"{format_size(size)} of memory may be too little for an interpreter: the kernel "
                    "kills what has most",
                    f"allow {format_size(LEAST_MEMORY)}",
                )


def _whole(number: int, page_size: int) -> int:
    """Round down to whole pages, as the kernel counts a limit."""
    return number // page_size * page_size
