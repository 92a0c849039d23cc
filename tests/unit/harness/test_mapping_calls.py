"""All calls that map, unmap, move or protect memory: the list, and what each does to a ledger."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foothold_lab.harness.evidence import observe_program
from foothold_lab.harness.evidence.mapping_calls import (
    CHANGING_CALLS,
    OTHER_MAPPING_CALLS,
    TRACED_CALLS,
)
from foothold_lab.harness.evidence.strace import follow_subject, parse_trace
from foothold_lab.harness.model.ledger import replay
from foothold_lab.harness.model.record import Ending, Record

ROOT = Path(__file__).parents[3]
AGENT = ROOT / "images" / "agent"
BEGIN = '7 execve("/init", [], 0) = 0\n7 execve("/a", [], 0) = 0\n'
END = "7 +++ exited with 0 +++\n"
RESERVE = "7 mmap(0x100000000000, 67108864, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x100000000000"  # fmt: skip


def layout(*lines: str) -> list[tuple[int, int, str]]:
    trace = parse_trace((BEGIN + "".join(f"{line}\n" for line in lines) + END).encode())
    subject = follow_subject(trace, 7)
    assert (trace.unknown, subject.unread) == (0, ())
    return [(each.start, each.end, each.protection) for each in replay(subject.steps).layout]


def disagreements(maps: str, *lines: str) -> list[str]:
    trace = (BEGIN + "".join(f"{line}\n" for line in lines) + END).encode()
    record = Record(
        argv=(),
        pid=7,
        ending=Ending(status=0),
        stdout=b"",
        stderr=b"",
        trace=trace,
        maps={"end": maps},
    )
    return [each.text for each in observe_program(record).contradictions]


def test_strace_traces_them_all() -> None:
    source = (AGENT / "strace_exec.c").read_text()
    [calls] = re.findall(r'"trace=(.*?)"\n\n', source, re.DOTALL)
    assert set(re.findall(r"[a-z_0-9]+", calls)) >= TRACED_CALLS


def test_the_tracer_of_the_agent_writes_them_all() -> None:
    named = set(re.findall(r'\{SYS_\w+, "(\w+)"', (AGENT / "trace_writer.c").read_text()))
    assert named | {"mmap", "mmap2"} >= TRACED_CALLS


def test_the_documentation_lists_them_all() -> None:
    page = (ROOT / "docs" / "mapping-calls.md").read_text()
    _, changing, other, *_ = page.split("\n## ")
    for text, calls in ((changing, CHANGING_CALLS), (other, OTHER_MAPPING_CALLS)):
        rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        assert set(re.findall(r"`(\w+)`", "".join(rows))) == calls


@pytest.mark.parametrize(
    ("line", "protection"),
    [
        ("pkey_mprotect(0x100000000000, 67108864, PROT_READ|PROT_WRITE, -1) = 0", "rw-"),
        ("pkey_mprotect(0x100000000000, 67108864, PROT_READ, 1) = 0", "r--"),
        ("pkey_mprotect(0x100000000000, 67108864, PROT_READ, 9) = -1 EINVAL (x)", "---"),
        ("remap_file_pages(0x100000000000, 4096, 0, 1, 0) = 0", "---"),
        ("mseal(0x100000000000, 67108864, 0) = 0", "---"),
        ("process_madvise(3, [{iov_base=NULL, iov_len=1}], 1, MADV_COLD, 0) = 1", "---"),
        ("io_setup(128, [0x7f0000000000]) = 0", "---"),
        ("io_uring_setup(8, {flags=0, sq_entries=8, features=IORING_FEAT_X}) = 3", "---"),
        ("userfaultfd(O_CLOEXEC) = 3", "---"),
    ],
)
def test_what_a_call_does_to_a_reservation(line: str, protection: str) -> None:
    assert layout(RESERVE, f"7 {line}") == [(0x100000000000, 0x100004000000, protection)]
    maps = f"100000000000-100004000000 {protection}p 00000000 00:00 0 \n"
    assert disagreements(maps, RESERVE, f"7 {line}") == []


def test_a_segment_that_replaces_a_reservation() -> None:
    lines = (
        RESERVE,
        "8 shmget(IPC_PRIVATE, 8192, IPC_CREAT|0600) = 5",  # of a child
        "7 shmat(5, 0x100000000000, SHM_REMAP) = 0x100000000000",
    )
    assert layout(*lines)[0] == (0x100000000000, 0x100000002000, "rw-")
    assert layout(*lines, "7 shmdt(0x100000000000) = 0")[0][0] == 0x100000002000


def test_a_segment_of_an_unknown_size_is_left_out() -> None:
    assert layout("7 shmat(5, NULL, SHM_RDONLY) = 0x7f0000000000") == []


def test_a_read_only_segment_in_numbers() -> None:
    lines = "7 shmget(0, 4096, 0x3b6) = 5", "7 shmat(5, NULL, 0x1000) = 0x7f0000000000"
    assert layout(*lines) == [(0x7F0000000000, 0x7F0000001000, "r--")]


def test_a_shadow_stack_is_anonymous_memory() -> None:
    line = "7 map_shadow_stack(NULL, 134217728, 0) = 0x7f0000000000"
    maps = "7f0000000000-7f0008000000 rw-p 00000000 00:00 0 \n"
    assert disagreements(maps, line) == []


def test_the_vdso_may_move() -> None:
    move = "mremap(0x7ffff7fc1000, 8192, 8192, MREMAP_MAYMOVE|MREMAP_FIXED, 0x10000000)"
    maps = "10000000-10002000 r-xp 00000000 00:00 0 [vdso]\n"
    assert disagreements(maps, f"7 {move} = 0x10000000") == []


@pytest.mark.parametrize("flags", ["MREMAP_MAYMOVE|MREMAP_DONTUNMAP", "5"])
def test_a_moved_reservation_may_keep_its_old_range(flags: str) -> None:
    move = f"mremap(0x100000000000, 67108864, 67108864, {flags}, NULL) = 0x7f0000000000"
    maps = (
        "100000000000-100004000000 ---p 00000000 00:00 0 \n"
        "7f0000000000-7f0004000000 ---p 00000000 00:00 0 \n"
    )
    assert disagreements(maps, RESERVE, f"7 {move}") == []


def test_memory_with_a_name_is_anonymous() -> None:
    """As Go 1.25 and glibc 2.39 name it, with prctl(PR_SET_VMA)."""
    maps = "100000000000-100004000000 ---p 00000000 00:00 0 [anon: Go: heap reservation]\n"
    assert disagreements(maps, RESERVE) == []
    assert len(disagreements(maps)) == 1, "large, and the trace does not account for it"


def hole(at: int) -> str:
    return f"7 munmap({at:#x}, 1048576) = 0"


PROTECT = "7 mprotect(0x100000000000, 67108864, PROT_READ) = -1"


def test_protecting_up_to_a_hole_changes_what_is_before_it() -> None:
    before, behind = (0x100000000000, 0x100001000000), (0x100001100000, 0x100004000000)
    lines = RESERVE, hole(before[1]), f"{PROTECT} ENOMEM (x)"
    assert layout(*lines) == [(*before, "r--"), (*behind, "---")]
    maps = (
        "100000000000-100001000000 r--p 00000000 00:00 0 \n"
        "100001100000-100004000000 ---p 00000000 00:00 0 \n"
    )
    assert disagreements(maps, *lines) == []
    assert disagreements(maps.replace("r--p", "---p"), *lines)


def test_protecting_a_hole_changes_nothing() -> None:
    protect = "7 mprotect(0x0fffffff0000, 67174400, PROT_READ) = -1 ENOMEM (x)"
    maps = "100000000000-100004000000 ---p 00000000 00:00 0 \n"
    assert disagreements(maps, RESERVE, protect) == []


@pytest.mark.parametrize("errno", ["ENOMEM", "EACCES", "EPERM"])
@pytest.mark.parametrize("shown", ["---p", "r--p"])
def test_how_far_a_refused_protection_came_may_be_unknown(errno: str, shown: str) -> None:
    maps = f"100000000000-100004000000 {shown} 00000000 00:00 0 \n"
    assert disagreements(maps, RESERVE, f"{PROTECT} {errno} (x)") == []


def test_a_protection_that_was_refused_at_once_changes_nothing() -> None:
    maps = "100000000000-100004000000 r--p 00000000 00:00 0 \n"
    assert disagreements(maps, RESERVE, f"{PROTECT} EINVAL (x)")
    assert disagreements(maps, RESERVE, f"{PROTECT} ENOMEM (x) (INJECTED)")


@pytest.mark.parametrize(
    "line",
    [
        "mmap(0x100000000000, 33554432, PROT_READ, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS, -1, 0)",
        "mremap(0x200000000000, 4096, 33554432, MREMAP_MAYMOVE|MREMAP_FIXED, 0x100000000000)",
    ],
    ids=["mmap", "mremap"],
)
def test_a_refused_call_may_have_unmapped_its_destination(line: str) -> None:
    lines = RESERVE, f"7 {line} = -1 ENOMEM (x)"
    behind = "100002000000-100004000000 ---p 00000000 00:00 0 \n"
    assert disagreements(behind, *lines) == []
    assert disagreements(behind.replace("---p", "rw-p"), *lines)


IMPLIED = "7 personality(PER_LINUX|READ_IMPLIES_EXEC) = 0 (PER_LINUX)"
READABLE = "mmap(0x100000000000, 67108864, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x100000000000"  # fmt: skip
EXECUTABLE = [(0x100000000000, 0x100004000000, "r-x")]


def test_readable_memory_may_be_executable() -> None:
    assert layout(IMPLIED, f"7 {READABLE}") == EXECUTABLE
    protect = "7 mprotect(0x100000000000, 67108864, PROT_READ) = 0"
    assert layout(RESERVE, IMPLIED, protect) == EXECUTABLE
    assert layout(IMPLIED, RESERVE)[0][2] == "---"
    number = "7 personality(0x400000) = 0"  # as the agent writes it
    assert layout(number, f"7 {READABLE}") == EXECUTABLE


def test_a_personality_is_that_of_a_thread() -> None:
    clone = "7 clone(child_stack=NULL, flags=CLONE_VM|CLONE_THREAD) = 8"
    assert layout(clone, IMPLIED, f"8 {READABLE}")[0][2] == "r--"
    assert layout(IMPLIED, clone, f"8 {READABLE}") == EXECUTABLE
    query = "7 personality(0xffffffff) = 0x400000 (PER_LINUX|READ_IMPLIES_EXEC)"
    plain = "7 personality(PER_LINUX) = 0x400000 (PER_LINUX|READ_IMPLIES_EXEC)"
    assert layout(IMPLIED, query, f"7 {READABLE}") == EXECUTABLE
    assert layout(IMPLIED, plain, f"7 {READABLE}")[0][2] == "r--"


def test_a_program_may_be_executed_with_executable_memory() -> None:
    memory = "100000000000-100004000000 r-xp 00000000 00:00 0 \n"
    text = "08048000-08049000 r-xp 00000000 00:00 7 /p\n"
    kernels = "f7fc5000-f7fc9000 r--p 00000000 00:00 0 [vvar]\n"
    assert disagreements(text + kernels + memory, f"7 {READABLE}") == []
    data = "08049000-0804a000 rw-p 00000000 00:00 7 /p\n"
    assert disagreements(text + data + kernels + memory, f"7 {READABLE}")
