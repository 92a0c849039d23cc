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
    _, changing, other, _ = page.split("\n## ")
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
