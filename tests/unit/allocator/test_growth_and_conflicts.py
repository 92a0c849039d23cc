"""After the start: growth beyond the reservation and its end, conflicts, exhaustion."""

import pytest
from allocator_support import GIB, MIB, UML_61, Lab, uml

from foothold_lab.allocator.death import Killed, Throw
from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.predict import predict
from foothold_lab.allocator.workload import run

pytestmark = pytest.mark.thorough

PROBE_TAKEN = ((0xF800000000, 0xF800001000),)


def block(lab: Lab, nbytes: int) -> tuple[int, list[str]]:
    """Allocate, and return the calls that were made."""
    before = len(lab.calls)
    return lab.runtime.malloc(nbytes), lab.since(before)


def test_low_growth_beyond_512_mib_takes_kernel_memory_and_maps_bits_for_the_gap() -> None:
    lab = uml()
    arena = lab.begin().arena
    assert (arena.arena_start, arena.arena_end) == (0xA500000, 0x2A500000)
    v, calls = block(lab, 511 * MIB)
    assert (v, arena.path) == (0xA501000, "low")
    v, calls = block(lab, 8 * MIB)
    assert arena.path == "low-grown"
    assert calls[0] == "mmap(NULL, 8388608, RWX, anywhere) = 0x40050000"
    used = 0x40050000 + 8 * MIB
    assert arena.arena_used == arena.arena_end == used
    need = (used - 0xA500000) // 16
    need = (need + 8191) // 8192 * 8192
    assert calls[1:] == [
        f"mmap({0xA500000 - need:#x}, {need - 512 * MIB // 16}, RWX, FIXED) = {0xA500000 - need:#x}"
    ]
    v, calls = block(lab, 4 * MIB)  # the tail of the reservation is given up: SysAlloc from now on
    assert calls[0].startswith("mmap(NULL, 4194304, RWX, anywhere) = ")


def test_a_request_larger_than_the_rest_abandons_the_rest() -> None:
    lab = uml()
    runtime = lab.begin()
    block(lab, 256 * MIB)
    v, calls = block(lab, 300 * MIB)
    assert v >= 0x40000000 and "anywhere" in calls[0]
    v, calls = block(lab, 2 * MIB)
    assert "anywhere" in calls[0]
    assert runtime.arena.arena_used == runtime.arena.arena_end


def test_a_block_below_the_used_arena_changes_nothing() -> None:
    lab = uml(occupied=((0x40100000, 0x60000000),))
    arena = lab.begin().arena
    block(lab, 511 * MIB)
    v, calls = block(lab, 8 * MIB)
    assert v == 0x60000000
    used = arena.arena_used
    lab.kernel.munmap(0x40100000, 0x10000000)
    v, calls = block(lab, 8 * MIB)
    assert v == 0x40100000 - (0x40100000 - 0x40050000)
    assert (len(calls), arena.arena_used) == (1, used)
    assert lab.runtime.mlookup(v + 5) == (v, 8 * MIB)


def test_low_growth_ends_2_gib_above_the_arena_when_placed_from_the_bottom_up() -> None:
    lab = uml()
    lab.begin()
    with pytest.raises(Throw, match=r"^out of memory$"):
        for _ in range(100):
            lab.runtime.malloc(64 * MIB)
    arena = lab.runtime.arena
    assert arena.path == "low-grown"
    assert 2 * GIB - 65 * MIB < arena.arena_used - arena.arena_start < 2 * GIB
    assert lab.console.lines[0] == "runtime: memory allocated by OS not in usable range"
    assert lab.console.lines[1].startswith(
        "runtime: out of memory: cannot allocate 67108864-byte block ("
    )
    assert len(lab.console.lines) == 2
    assert str(lab.calls[-1]).startswith("munmap(") and lab.calls[-1].args[1] == 64 * MIB


def test_growth_to_exactly_2_gib_is_refused() -> None:
    """P + n - arena_start must be less than 2 GiB."""
    for gap, works in ((0, False), (4096, True)):
        lab = Lab(task_size=UML_61, top_down=False, mmap_base=0xA500000 + 2 * GIB - 600 * MIB - gap)
        runtime = lab.begin()
        runtime.malloc(100 * MIB)
        base = lab.kernel.maps()[-1][1]
        fill = 0xA500000 + 2 * GIB - gap - 512 * MIB - base
        assert lab.kernel.mmap(base, fill, 0, 0x32) == base
        if works:
            assert runtime.malloc(512 * MIB) == 0xA500000 + 2 * GIB - gap - 512 * MIB
        else:
            with pytest.raises(Throw, match=r"^out of memory$"):
                runtime.malloc(512 * MIB)


def test_low_growth_is_refused_at_once_when_placed_from_the_top_down() -> None:
    lab = Lab(occupied=PROBE_TAKEN)
    runtime = lab.begin()
    runtime.malloc(511 * MIB)
    sys_before = runtime.stats().sys
    with pytest.raises(Throw, match=r"^out of memory$"):
        runtime.malloc(40000 * 100)
    assert lab.console.lines == [
        "runtime: memory allocated by OS not in usable range",
        f"runtime: out of memory: cannot allocate 4063232-byte block ({512 * MIB} in use)",
    ]
    assert runtime.stats().sys == sys_before  # SysFree took it off again
    assert runtime.arena.path == "low"


def test_a_failed_small_request_is_retried_with_less() -> None:
    lab = Lab(occupied=PROBE_TAKEN)
    runtime = lab.begin()
    runtime.malloc(511 * MIB)
    runtime.malloc(255 * 4096)
    with pytest.raises(Throw, match=r"^out of memory$"):
        runtime.malloc(40000)
    assert lab.console.lines == [
        "runtime: memory allocated by OS not in usable range",
        "runtime: memory allocated by OS not in usable range",
        f"runtime: out of memory: cannot allocate 65536-byte block ({512 * MIB} in use)",
    ]


def test_low_growth_that_the_kernel_refuses() -> None:
    lab = uml(rlimit_as=700 * MIB)
    runtime = lab.begin()
    runtime.malloc(500 * MIB)
    with pytest.raises(Throw, match=r"^out of memory$"):
        runtime.malloc(100 * MIB)
    assert lab.console.lines == [
        "runtime: out of memory: cannot allocate 104857600-byte block (525336576 in use)"
    ]
    assert runtime.stats().sys > 600 * MIB  # what failed is counted, and never taken off


def test_the_high_arena_ends_after_16_gib() -> None:
    lab = Lab()
    runtime = lab.begin()
    for _ in range(15):
        runtime.malloc(GIB)
    calls = len(lab.calls)
    with pytest.raises(Throw, match=r"^out of memory$"):
        runtime.malloc(GIB)
    assert lab.since(calls) == []  # the reservation is all there is
    assert lab.console.lines == [
        f"runtime: out of memory: cannot allocate {GIB}-byte block ({15 * GIB + MIB} in use)"
    ]


def test_growth_below_256_pages_has_no_effect_and_no_message() -> None:
    lab = Lab()
    runtime = lab.begin()
    for _ in range(15):
        runtime.malloc(GIB)
    runtime.malloc(GIB - MIB - 128 * 1024)
    runtime.malloc(255 * 4096)
    heap_sys = runtime.stats().heap_sys
    calls = len(lab.calls)
    with pytest.raises(Throw, match=r"^out of memory$"):
        runtime.malloc(40000)
    assert lab.console.lines == []
    assert runtime.stats().heap_sys == heap_sys + 65536
    assert len(lab.since(calls)) == 2  # heap and bitmap, mapped for nothing


def test_a_size_near_2_to_the_64_wraps_and_dies_without_a_message() -> None:
    lab = Lab()
    runtime = lab.begin()
    heap_sys = runtime.stats().heap_sys
    with pytest.raises(Throw, match=r"^out of memory$"):
        runtime.malloc((1 << 64) - 1)
    assert lab.console.lines == []
    assert runtime.stats().heap_sys == heap_sys + MIB


def test_an_occupied_heap_is_a_conflict_and_leaks_the_first_mapping() -> None:
    lab = Lab(occupied=((0xF840100000, 0xF840200000),))
    lab.begin()
    with pytest.raises(Throw, match=r"^runtime: address space conflict$"):
        lab.runtime.malloc(MIB)
    got = lab.calls[-2].result
    assert lab.calls[-2].name == "mmap" and lab.calls[-1].name == "mincore"
    assert lab.console.lines == [f"runtime: address space conflict: map(0xf840100000) = {got:#x}"]


def test_a_partly_occupied_step_counts_as_free_and_is_overwritten() -> None:
    lab = Lab(occupied=((0xF840180000, 0xF840181000),))
    lab.begin()
    _v, calls = block(lab, MIB)
    assert calls[1] == "mincore(0xf840100000, 1048576) = -ENOMEM"
    assert calls[2].startswith("munmap(")
    assert calls[3] == "mmap(0xf840100000, 1048576, RWX, FIXED) = 0xf840100000"


def test_mincore_queries_16_mib_at_a_time_up_to_the_first_full_step() -> None:
    start = 0xF840100000
    lab = Lab(occupied=((start + 16 * MIB, start + 32 * MIB),))
    lab.begin()
    with pytest.raises(Throw, match=r"^runtime: address space conflict$"):
        lab.runtime.malloc(40 * MIB)
    asked = [(call.args[0] - start, call.args[1]) for call in lab.calls if call.name == "mincore"]
    assert asked == [(0, 16 * MIB), (16 * MIB, 16 * MIB)]


def test_an_error_other_than_enomem_shows_as_a_conflict_with_a_tiny_address() -> None:
    for errno in (1, 13, 22):
        lab = Lab("before", failures=[("mmap", 2, errno), ("mmap", 3, errno)])
        with pytest.raises(Throw, match=r"^runtime: address space conflict$"):
            lab.begin()
        assert lab.console.lines == [
            f"runtime: address space conflict: map(0xf840000000) = {errno:#x}"
        ]


def test_errno_4095_passes_for_an_address() -> None:
    lab = Lab("after", failures=[("mmap", 2, 4095)], occupied=PROBE_TAKEN)
    with pytest.raises(Throw, match=r"^runtime: cannot reserve arena virtual address space$"):
        lab.begin()  # SysReserve's own test, on the negated result, still catches it
    lab = Lab("before", failures=[("mmap", 2, 4095)])
    with pytest.raises(Killed):
        lab.begin()  # SysMap unmaps what is no address, and crashes on purpose
    assert str(lab.calls[-1]) == f"munmap({(1 << 64) - 4095:#x}, 1048576) = -EINVAL"


def test_a_misplaced_low_reservation_leads_to_a_conflict() -> None:
    """The arena lies above 4 GiB, so its own reservation conflicts with the heap."""
    lab = Lab(occupied=(*PROBE_TAKEN, (0x2500000, 0x2600000)))
    with pytest.raises(Throw, match=r"^runtime: address space conflict$"):
        lab.begin()
    assert [call.name for call in lab.calls] == ["mmap", "mmap", "mmap", "mmap", "mincore"]
    assert lab.calls[-1].result == 0


def test_the_stray_probe_stays_mapped() -> None:
    lab = uml()
    lab.begin()
    assert (0x40000000, 0x40010000, 0) in lab.kernel.maps()


def test_grsec_takes_the_high_arena_where_after_does_not() -> None:
    after = Lab(hints_honoured=False)
    with pytest.raises(Throw, match=r"^runtime: address space conflict$"):
        after.begin()
    grsec = Lab("grsec", hints_honoured=False)
    assert grsec.begin().arena.path == "high"
    calls = grsec.since(0)
    assert calls[1] == "mincore(0xf800000000, 65536) = -ENOMEM"
    assert calls[3:5] == [
        "mmap(0xf800000000, 65536, NONE, FIXED) = 0xf800000000",
        "munmap(0xf800000000, 65536) = 0",
    ]


@pytest.mark.parametrize("policy", ["after", "grsec", "memlimit"])
def test_the_low_path_works_in_39_bits(policy: str) -> None:
    lab = uml(policy)
    assert lab.begin().arena.path == "low"


@pytest.mark.parametrize(
    ("mib", "path", "length"),
    [
        (64, "high", 0),
        (112, "high", 0),
        (113, "high", 0),
        (192, "high", 0),
        (193, "refused", 0),
        (195, "low", 0),
        (200, "low", 7815168),
        (300, "low", 112693248),
        (512, "low", 334983168),
        (800, "low", 636973056),
        (1024, "low", 671088640),
        (1216, "low", 671088640),
        (1217, "high", 0),
        (2047, "high", 0),
        (2048, "high", 0),
    ],
)
def test_memlimit_is_not_monotonic_in_the_limit(mib: int, path: str, length: int) -> None:
    outcome = predict(
        POLICIES["memlimit"], ModelKernel(AddressSpace(rlimit_as=mib * MIB)), workload="none"
    )
    assert outcome.path == path
    if length:
        assert outcome.addresses["length"] == length
    tried = any(call.args[:1] == (0xF800000000,) for call in outcome.calls)
    assert tried == (path == "high")
    assert outcome.calls[0].name == "getrlimit"


def test_memlimit_ignores_a_failed_getrlimit_and_a_huge_limit() -> None:
    for kernel in (
        ModelKernel(AddressSpace(failures=[("getrlimit", 1, 1)])),
        ModelKernel(AddressSpace(rlimit_as=0x7FFFFFFF)),
    ):
        assert predict(POLICIES["memlimit"], kernel, workload="none").path == "high"


def test_an_unaligned_reservation_throws_and_memlimit_prints_a_message() -> None:
    class Crooked(ModelKernel):
        def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
            result = super().mmap(addr, length, prot, flags)
            return result + 8 if length > 64 << 20 else result

    for policy, lines in (
        ("after", []),
        (
            "memlimit",
            ["runtime: SysReserve returned unaligned address 0x2500008; asked for 0x28000000"],
        ),
    ):
        lab = Lab(policy, Crooked(AddressSpace(task_size=UML_61, top_down=False)))
        with pytest.raises(Throw, match=r"^runtime: SysReserve returned unaligned address$"):
            lab.begin()
        assert lab.console.lines == lines


def test_the_profiler_allocates_17_pages_for_each_mib_with_a_large_block() -> None:
    """Therefore 20 blocks of a MiB grow the heap by more than 20 MiB."""
    lab = Lab()
    runtime = lab.begin()
    run(runtime, "grow-20")
    stats = runtime.stats()
    pages = 1 + 25 + 20 * (256 + 17) + 2  # self-test and start, blocks and tables, entries
    assert stats.heap_inuse == pages * 4096
    assert stats.heap_sys == 22 * MIB
    assert stats.buckhash_sys == 1439992


def test_a_sampled_block_is_special_until_it_is_freed() -> None:
    runtime = Lab().begin()
    run(runtime, "block:512K")
    v = runtime.malloc(600 << 10)
    assert runtime.bitmap.bits(v) == (True, False, False, True)
    small = runtime.malloc(100 << 10)
    assert runtime.bitmap.bits(small) == (True, False, False, False)
    runtime.free(v)
    runtime.free(small)
    assert runtime.bitmap.bits(v) == (False, False, False, False)
    entries = runtime.mprof._entries if runtime.mprof else 0
    assert entries == 63


class TestModern:
    def test_the_heap_grows_upwards_from_the_first_hint(self) -> None:
        lab = Lab("modern")
        runtime = lab.begin()
        assert lab.since(0)[1:3] == [
            "mmap(0xc000000000, 67108864, NONE, hint) = 0xc000000000",
            "mmap(0xc000000000, 67108864, RW, FIXED) = 0xc000000000",
        ]
        assert (runtime.arena.path, runtime.arena.base) == ("high", 0xC000000000)
        v, calls = block(lab, 100 * MIB)
        assert calls[0] == "mmap(0xc004000000, 134217728, NONE, hint) = 0xc004000000"
        assert v == 0xC000001000  # from the first arena into the next

    def test_arm64_starts_at_a_lower_hint(self) -> None:
        lab = Lab("modern-arm64", task_size=(1 << 39) - 4096)
        assert lab.begin().arena.base == 0x4000000000

    def test_a_refused_hint_is_unmapped_and_dropped(self) -> None:
        lab = Lab("modern", occupied=((0xC000000000, 0xC000001000),))
        runtime = lab.begin()
        assert lab.calls[2].name == "munmap"
        assert runtime.arena.base == 0x1C000000000

    def test_without_a_hint_the_kernels_choice_is_trimmed_to_an_arena(self) -> None:
        lab = Lab("modern", task_size=(1 << 38) - 4096)
        runtime = lab.begin()
        assert runtime.arena.path == "low"
        assert runtime.arena.base % (64 * MIB) == 0
        hints = [call for call in lab.calls if call.name == "mmap" and call.args[0] & 0xC0 << 32]
        assert len([call for call in hints if call.args[2] == 0]) == 128
        cut = next(at for at, call in enumerate(lab.calls) if call.args[:2] == (0, 128 * MIB))
        assert [call.name for call in lab.calls[cut + 1 : cut + 3]] == ["munmap", "munmap"]
        v, _ = block(lab, 60 * MIB)
        v, _calls = block(lab, 60 * MIB)
        assert runtime.mlookup(v) == (v, 60 * MIB)
        runtime.free(v)

    def test_an_aligned_reservation_is_kept_whole(self) -> None:
        base = 0x1000000000
        lab = Lab("modern", task_size=1 << 38, top_down=False, mmap_base=base - 131072)
        arena = lab.begin().arena
        assert (arena.base, arena.arena_end) == (base, base + 128 * MIB)

    def test_after_a_reservation_without_hint_the_heap_grows_up_then_down(self) -> None:
        lab = Lab("modern", task_size=1 << 38)
        base = lab.begin().arena.base
        before = len(lab.calls)
        v, _ = block(lab, 100 * MIB)  # above it stands what was mapped before
        assert [call.args[0] for call in lab.calls[before:][:3:2]] == [
            base + 64 * MIB,
            base - 128 * MIB,
        ]
        assert v == lab.runtime.arena.arena_start == base - 128 * MIB

    def test_throws_without_memory_for_an_arena(self) -> None:
        lab = Lab("modern", rlimit_as=MIB)
        with pytest.raises(Throw, match=r"^out of memory$"):
            lab.begin()
        assert lab.console.lines[-1].startswith("runtime: out of memory: cannot allocate ")

    def test_throws_without_memory_for_the_bitmap(self) -> None:
        lab = Lab("modern", rlimit_as=66 * MIB)
        with pytest.raises(Throw, match=r"^out of memory allocating heap arena metadata$"):
            lab.begin()

    def test_throws_if_a_reservation_cannot_be_mapped(self) -> None:
        lab = Lab("modern", failures=[("mmap", 3, 12)])
        with pytest.raises(Throw, match=r"^runtime: out of memory$"):
            lab.begin()


def test_the_first_collection_follows_the_first_block() -> None:
    """Observed in UML: the bitmap of block:600M has 95,584,256 bytes besides the first 64 KiB."""
    lab = uml()
    run(lab.begin(), "block:600M")
    assert lab.since(-4) == [
        "mmap(NULL, 629145600, RWX, anywhere) = 0x40070000",
        "mmap(0x49c8000, 95584256, RWX, FIXED) = 0x49c8000",
        "mmap(NULL, 1439992, RWX, anywhere) = 0x65870000",
        "mmap(NULL, 1048576, RWX, anywhere) = 0x659d0000",
    ]


@pytest.mark.parametrize(
    ("kib", "printed", "message"),
    [
        (1472, [], "runtime: out of memory"),
        (2559, [], "runtime: out of memory"),
        (2560, ["unexpected fault address 0x1000"], "fault"),
        (
            3968,
            ["panic: invalid memory address or nil pointer dereference"],
            "panic during gc",
        ),
        (4991, ["panic: invalid memory address or nil pointer dereference"], "panic during gc"),
        (4992, [], ""),
    ],
)
def test_the_first_block_of_grow_dies_before_the_collection(
    kib: int, printed: list[str], message: str
) -> None:
    """1,472 KiB are left for the program where the real one has RLIMIT_AS = 33.87 MiB."""
    kernel = ModelKernel(AddressSpace(rlimit_as=kib << 10))
    outcome = predict(POLICIES["after"], kernel, workload="grow:1M")
    assert (list(outcome.printed), outcome.message) == (printed, message)


def test_a_bitmap_larger_than_the_addresses_below_the_arena_wraps() -> None:
    """Observed with Go's own program, whose image occupies 0x400000 to 0x2444000."""
    kernel = AddressSpace(
        task_size=UML_61, top_down=False, rlimit_as=200 * MIB, occupied=[(0x400000, 0x2444000)]
    )
    outcome = predict(POLICIES["memlimit"], ModelKernel(kernel), workload="grow:16M")
    assert [str(call) for call in outcome.calls[-4:]] == [
        "mmap(0xfffffffffe7f4000, 64487424, RWX, hint) = 0x403c0000",
        "mincore(0xfffffffffe7f4000, 16777216) = -ENOMEM",
        "mincore(0xffffffffff7f4000, 16777216) = -ENOMEM",
        "mincore(0x7f4000, 16777216) = 0",
    ]
    assert outcome.message == "runtime: address space conflict"


def test_a_failing_munmap_kills_the_process_during_mallocinit() -> None:
    outcome = predict(POLICIES["after"], ModelKernel(AddressSpace(failures=[("munmap", 1, 22)])))
    assert (outcome.path, outcome.outcome, outcome.signal) == ("refused", "dies", 11)
    assert (outcome.message, outcome.printed) == ("", ())


def test_a_failing_munmap_is_a_deadlock_after_mallocinit() -> None:
    """A block outside of the usable 2 GiB is unmapped again."""
    failing = AddressSpace(
        task_size=UML_61, top_down=True, hints_honoured=True, failures=[("munmap", 1, 22)]
    )
    outcome = predict(POLICIES["after"], ModelKernel(failing), workload="block:600M")
    assert outcome.calls[-1].name == "munmap"
    assert (outcome.signal, outcome.status) == (0, 2)
    assert outcome.message == "malloc/free - deadlock"


def test_small_blocks_grow_the_heap_until_memory_ends() -> None:
    kernel = AddressSpace(rlimit_as=40 * MIB)
    outcome = predict(POLICIES["after"], ModelKernel(kernel), workload="small:2000000:32")
    assert (outcome.status, outcome.message) == (2, "runtime: out of memory")
    growths = [call for call in outcome.calls if call.args[1:2] == (MIB,) and call.args[0]]
    assert [call.result == -12 for call in growths[-2:]] == [True, True]  # a hint, then MAP_FIXED
    assert len(growths) == 38  # 36 MiB with 64 KiB of bitmap each, tables and a work chunk
    enough = predict(POLICIES["after"], ModelKernel(AddressSpace()), workload="small:1000:64")
    assert enough.outcome == "allocates"
