"""The allocator compared with a simple shadow of it, in random programs of Hypothesis.

FOOTHOLD_EXAMPLES raises the number of examples for a long run.
"""

import os

import hypothesis.strategies as st
import pytest
from allocator_support import MIB, Lab, narrow, uml
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from foothold_lab.allocator.death import Console
from foothold_lab.allocator.malloc import FLAG_NO_POINTERS, Runtime
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.realkernel import RealKernel
from foothold_lab.allocator.sizes import PAGE_SHIFT, SizeClasses
from foothold_lab.allocator.span import SPAN_FREE, SPAN_IN_USE

pytestmark = pytest.mark.thorough

EXAMPLES = int(os.environ.get("FOOTHOLD_EXAMPLES", "40"))
CLASS_SIZES = SizeClasses().size[1:]
SIZES = st.one_of(
    st.integers(0, 1100),
    st.sampled_from([size + d for size in CLASS_SIZES for d in (-1, 0, 1)]),
    st.integers(32769, 3 * MIB),
)


class Machine(RuleBasedStateMachine):
    """Fill each block with its own words, and check everything after every step."""

    blocks = Bundle("blocks")
    runtime: Runtime

    def __init__(self) -> None:
        super().__init__()
        self.shadow: dict[int, tuple[int, bool]] = {}

    @staticmethod
    def make() -> Runtime:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.runtime = self.make()
        self.words = self.runtime.kernel.words
        self.shift = self.runtime.width.shift

    def places(self, v: int, size: int) -> set[int]:
        first, last = v >> self.shift, (v + size >> self.shift) - 1
        return {i for i in (first, first + 1, (first + last) // 2, last) if first <= i <= last}

    @rule(target=blocks, size=SIZES, noptr=st.booleans())
    def malloc(self, size: int, noptr: bool) -> int:
        runtime = self.runtime
        v = runtime.mallocgc(size, FLAG_NO_POINTERS) if noptr else runtime.malloc(size)
        base, room = self.runtime.mlookup(v) or (0, 0)
        assert (base, room >= max(size, 1)) == (v, True)
        assert v % (8 if room < 16 else 16 if room < 4096 and room & 15 == 0 else 8) == 0
        if size > 32768:
            assert v % 4096 == 0 and room == -(-size // 4096) * 4096
        for i in self.places(v, room):
            assert self.words[i] == 0
            self.words[i] = i
        self.shadow[v] = (room, noptr)
        return v

    @rule(v=consumes(blocks))
    def free(self, v: int) -> None:
        room, _ = self.shadow.pop(v)
        for i in self.places(v, room):
            assert self.words[i] == i
        self.runtime.free(v)
        assert self.runtime.bitmap.bits(v)[0] is False

    @rule(count=st.integers(1, 400), size=st.sampled_from(CLASS_SIZES[:40]))
    def churn(self, count: int, size: int) -> None:
        """Allocate many blocks of one size, more than a list of the cache may hold."""
        blocks = [self.runtime.malloc(size) for _ in range(count)]
        assert len(set(blocks)) == count and not self.shadow.keys() & set(blocks)
        for v in blocks:
            self.runtime.free(v)

    @rule()
    def collect(self) -> None:
        """Release the whole cache, as the end of a collection does."""
        self.runtime.mcache.release_all()

    @rule(v=blocks, inside=st.integers(0, 1 << 20))
    def look(self, v: int, inside: int) -> None:
        room, _ = self.shadow[v]
        assert self.runtime.mlookup(v + inside % room) == (v, room)

    @invariant()
    def blocks_do_not_overlap_and_the_bitmap_agrees(self) -> None:
        end = 0
        for v, (room, noptr) in sorted(self.shadow.items()):
            assert v >= end
            end = v + room
            assert self.runtime.bitmap.bits(v) == (True, noptr, False, False)

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self, "runtime"):
            return
        stats = self.runtime.stats()
        assert stats.heap_idle + stats.heap_inuse == stats.heap_sys
        assert stats.alloc == stats.heap_alloc == sum(room for room, _ in self.shadow.values())
        assert stats.heap_objects == len(self.shadow)
        mcache = self.runtime.mcache
        assert mcache.size == sum(blocks.nlist * blocks.size for blocks in mcache.lists)
        for blocks in mcache.lists:
            assert 0 <= blocks.nlistmin <= blocks.nlist < 256
            v, n = blocks.list, 0
            while v:
                v, n = self.words[v >> self.shift], n + 1
            assert n == blocks.nlist

    @invariant()
    def free_spans_are_coalesced_and_listed_by_length(self) -> None:
        if not hasattr(self, "runtime"):
            return
        heap = self.runtime.heap
        idle = 0
        for n, spans in [*enumerate(heap.free_lists), (-1, heap.large)]:
            for span in spans.values():
                assert span.state == SPAN_FREE
                assert span.npages == n if n >= 0 else span.npages >= 256
                idle += span.npages
                for page in (span.start - 1, span.start + span.npages):
                    other = heap.map.get(page)
                    assert other is None or other.state == SPAN_IN_USE
        assert idle << PAGE_SHIFT == self.runtime.stats().heap_idle

    def teardown(self) -> None:
        if not hasattr(self, "runtime"):
            return
        for v in list(self.shadow):
            self.free(v)
        runtime = self.runtime
        runtime.mcache.release_all()
        stats = runtime.stats()
        assert stats.heap_inuse == stats.heap_alloc == stats.heap_objects == stats.alloc == 0
        assert stats.heap_idle == stats.heap_sys
        assert stats.mspan_inuse == runtime.width.mspan * sum(
            len(spans) for spans in [*runtime.heap.free_lists, runtime.heap.large]
        )
        assert not runtime.bitmap.places
        self.let_go()

    def let_go(self) -> None:
        pass


class HighOnModel(Machine):
    @staticmethod
    def make() -> Runtime:
        return Lab().begin()


class LowOnModel(Machine):
    @staticmethod
    def make() -> Runtime:
        return uml().begin()


class NarrowOnModel(Machine):
    @staticmethod
    def make() -> Runtime:
        return narrow().begin()


class ModernOnModel(Machine):
    @staticmethod
    def make() -> Runtime:
        return Lab("modern").begin()


class Remembering(RealKernel):
    """The real kernel. All mappings are removed at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[int, int]] = []

    __slots__ = ("given",)

    def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
        result = super().mmap(addr, length, prot, flags)
        if result >= 0:
            self.given.append((result, length))
        return result


class OnRealMemory(Machine):
    @staticmethod
    def make() -> Runtime:
        runtime = Runtime(Remembering(), POLICIES["after"], Console())
        runtime.mallocinit()
        return runtime

    def let_go(self) -> None:
        kernel = self.runtime.kernel
        assert isinstance(kernel, Remembering)
        for addr, length in kernel.given:
            assert kernel.munmap(addr, length) == 0


MACHINES = [HighOnModel, LowOnModel, NarrowOnModel, ModernOnModel, OnRealMemory]


@pytest.mark.parametrize("machine", MACHINES)
def test_allocator_invariants_hold_in_random_programs(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
