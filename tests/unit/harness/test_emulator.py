"""The word of an emulator: its log, and what of it the host's kernel bears out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.evidence import observe, observe_program
from foothold_lab.harness.evidence.emulator import Table, doubts, follow_subject, maps_at, read_log
from foothold_lab.harness.evidence.mapping_calls import Call
from foothold_lab.harness.evidence.maps import MapsError
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.ledger import Map
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import Outcome, ReservationPath
from tests.unit.harness import samples

DATA = Path(__file__).parents[2] / "data/emulator"
NAME = "qemu-user-arm64-39bit"
PID = 25862
CELL = Cell(guest="qemu-user-arm64-39bit", limits=Limits(), policy="after")


def read(name: str) -> bytes:
    return (DATA / f"{NAME}-{name}").read_bytes()


@pytest.fixture
def record() -> Record:
    log = read("after.log")
    maps = {each: read(f"after-{each}.maps").decode() for each in ("reserved", "end")}
    return Record(
        argv=("python3",),
        pid=PID,
        ending=Ending(status=0),
        stdout=read("after.out"),
        stderr=b"",
        maps=maps,
        trace=log,
        emulator=log,
    )


def test_report_emulator_and_kernel_agree(record: Record) -> None:
    seen = observe(record, CELL)
    assert seen.contradictions == ()
    assert (seen.path, seen.outcome) == (ReservationPath.LOW, Outcome.ALLOCATES)
    assert "64K --- at 0xf800000000: moved" in seen.evidence["trace"]
    assert seen.evidence["maps at end"].startswith("low: 640M reserved at 0x4c00000")


def test_without_a_trace_the_log_still_says_where_memory_is(record: Record) -> None:
    calls = re.sub(rb'\{"event":"call".*\n', b"", record.stdout)
    seen = observe(replace(record, trace=None, stdout=calls), CELL)
    assert (seen.contradictions, seen.path) == ((), ReservationPath.LOW)


def test_what_the_kernel_does_not_have_is_not_there(record: Record) -> None:
    lines = record.maps["end"].splitlines(keepends=True)
    gone = "".join(line for line in lines if not line.startswith("0cba1000-"))
    assert len(gone) < len(record.maps["end"])
    seen = observe(replace(record, maps={**record.maps, "end": gone}), CELL)
    assert Code.REPORT_VS_MAPS in samples.codes(seen.contradictions)


def test_what_the_emulator_has_mapped_for_the_program_is_its_own() -> None:
    """Such as the stack, which is executable on mips64."""
    stack, heap = "4000001000-4000801000", "f840000000-f840100000"
    log = (
        "start            end              size             prot\n"
        "0000004000001000-0000004000801000 0000000000800000 rwx\n"
        "7 brk(NULL) = 0x0000000122707000\n"
        "7 mmap(0x000000f840000000,1048576,PROT_EXEC|PROT_READ|PROT_WRITE,"
        "MAP_PRIVATE|MAP_ANONYMOUS,-1,0)page layout changed following mmap\n"
        "start            end              size             prot\n"
        "0000004000001000-0000004000801000 0000000000800000 rwx\n"
        "000000f840000000-000000f840100000 0000000000100000 rwx\n"
        " = 0x000000f840000000\n"
        "7 exit_group(0)\n"
    )
    maps = "".join(f"{each} rw-p 00000000 00:00 0 \n" for each in (stack, heap))
    record = Record(
        argv=("python3",),
        pid=7,
        ending=Ending(status=0),
        stdout=b"",
        stderr=b"",
        maps={"running": maps},
        stopped=True,
    )
    seen = maps_at(record, read_log(log.encode()), "running")
    assert [(str(each), each.anonymous) for each in seen] == [
        (f"{stack} rwxp [emulator]", False),
        (f"{heap} rwxp", True),
    ]


def test_what_the_kernel_keeps_from_being_read_is_not_usable(record: Record) -> None:
    shut = record.maps["end"].replace("0cba1000-0d201000 rw-p", "0cba1000-0d201000 ---p")
    assert shut != record.maps["end"]
    seen = observe(replace(record, maps={**record.maps, "end": shut}), CELL)
    assert seen.contradictions


def test_what_the_emulator_does_not_have_is_not_there(record: Record) -> None:
    """Within a reserved range the kernel shows all addresses as taken."""
    log = re.sub(rb"\n000000000cba0000-\S+ \S+ rwx", b"", record.emulator or b"")
    seen = observe(replace(record, trace=log, emulator=log), CELL)
    assert samples.says(seen.contradictions, Code.MAPS_VS_TRACE, "end"), seen.contradictions


def test_a_call_that_the_report_keeps_silent_about_is_found(record: Record) -> None:
    more = b"25862 mmap(NULL,134217728,PROT_NONE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0) = 0x5000000000\n"
    log = (record.emulator or b"").replace(b"25862 exit_group(0)", more + b"25862 exit_group(0)")
    seen = observe(replace(record, trace=log, emulator=log), CELL)
    assert Code.REPORT_VS_TRACE in samples.codes(seen.contradictions)


def test_moments_are_where_it_reads_its_input(record: Record) -> None:
    log = read_log(record.emulator or b"")
    assert log.base == 0x1000
    heap = {
        moment: sum(m.length for m in maps_at(record, log, moment) if m.is_heap)
        for moment in record.maps
    }
    assert 0 < heap["reserved"] < heap["end"]
    first = (record.emulator or b"").index(b"25862 read(0")
    with pytest.raises(MapsError, match="shows 0 reads of standard input"):
        maps_at(record, read_log((record.emulator or b"")[:first]), "reserved")


def test_a_thread_counts_even_if_its_clone_got_anothers_answer() -> None:
    """As logged of a Go program: its second thread slept, and was answered first."""
    log = read_log(
        b"7 nanosleep(1,0)7 clone(CLONE_VM|CLONE_THREAD,child_stack=0x3fb4022000) = 0\n"
        b"7 mmap(NULL,262144,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0) = 0\n"
        b" = 12\n"
        b"7 exit_group(0)\n"
    )
    subject_trace = follow_subject(log, 7)
    assert (subject_trace.threads, len(subject_trace.unread)) == (1, 1)
    assert doubts(subject_trace, Ending(status=0)) == []


CLONE = "clone(CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD,child_stack=0x7fe245baea60)"
MMAP = "mmap(NULL,268435456,PROT_NONE,MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE,-1,0)"


@pytest.mark.parametrize(
    ("log", "lengths"),
    [
        # with QEMU 10 a line begins with the number of the thread; 449 is a thread of 444
        (f"444 {CLONE} = 449\n449 {MMAP} = 0x00007f0000000000\n", [256 << 20]),
        # its first call comes before the result of clone; 450 is made by 449
        (
            f"444 {CLONE}449 prctl(15,1) = 449\n = 0\n449 {CLONE}450 {MMAP} = 0x00007f0000000000\n",
            [256 << 20],
        ),
        # a process of its own, also if it has a thread
        (f"444 fork() = 500\n500 {MMAP} = 0x00007f0000000000\n", []),
        (f"444 fork()500 {MMAP} = 0x00007f0000000000\n = 500\n", []),
        (f"444 fork() = 500\n500 {CLONE} = 501\n501 {MMAP} = 0x00007f0000000000\n", []),
        (
            f"444 {CLONE} = 449\n449 clone(CLONE_CHILD_SETTID|0x11) = 500\n"
            f"500 {MMAP} = 0x00007f0000000000\n",
            [],
        ),
    ],
)
def test_a_thread_belongs_to_its_process(log: str, lengths: list[int]) -> None:
    steps = follow_subject(read_log(log.encode()), 444).steps
    assert [each.reservation.length for each in steps if isinstance(each, Map)] == lengths


def test_an_answer_goes_to_a_call_that_can_be_answered_so() -> None:
    """No mmap is timed out, or given a small number: that was another thread's call."""
    mmap = "mmap(NULL,65536,PROT_NONE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0)"
    log = read_log(
        f"7 futex(0x1,128,2)7 {mmap} = -1 errno=110 (Connection timed out)\n"
        " = 0x0000000000400000\n"
        f"7 futex(0x1,128,2)7 {mmap} = 1\n = -1 errno=12 (Cannot allocate memory)\n".encode()
    )
    calls = [each for each in log.entries if isinstance(each, Call)]
    assert [(each.name, each.result, each.errno) for each in calls] == [
        ("futex", -1, "ETIMEDOUT"),
        ("mmap", 0x400000, ""),
        ("futex", 1, ""),
        ("mmap", -1, "ENOMEM"),
    ]


@pytest.mark.parametrize(
    ("written", "before", "row", "length"),
    [
        (1 << 20, "", "14200100000", (1 << 40) + (1 << 20)),  # GHC's terabyte, as logged
        (-292 << 20, "", "42edc00000", (4096 - 292) << 20),
        (1 << 20, "", "4200100000", 1 << 20),
        # beyond it something of the same protection was there before
        (1 << 20, "0000004200100000-0000014200100000 0000010000000000 ---", "14200100000", 1 << 20),
        (1 << 20, "0000004000000000-0000014200100000 0000010000000000 ---", "14200100000", 1 << 20),
    ],
)
def test_the_table_says_how_long_a_mapping_is(
    written: int, before: str, row: str, length: int
) -> None:
    head = "start            end              size             prot"
    lines = [head, before] if before else []
    lines += [
        f"7 mmap(0x4200000000,{written},PROT_NONE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0)"
        "page layout changed following mmap",
        head,
        f"0000004200000000-{row:0>16} 0000000000000000 ---",
        " = 0x0000004200000000",
        "7 munmap(0x4200000000,-4096) = 0",
    ]
    log = read_log("\n".join(lines).encode())
    mmap, munmap = (each for each in log.entries if isinstance(each, Call))
    assert (int(mmap.args[1]), int(munmap.args[1])) == (length, (1 << 32) - 4096)


def test_arm64_code_is_mapped_with_a_bit_of_its_own() -> None:
    """PROT_BTI, which this emulator writes as a number."""
    log = read_log(
        b"7 mmap(NULL,4096,PROT_EXEC|PROT_READ|0x10,MAP_PRIVATE|MAP_DENYWRITE|MAP_FIXED,4,0)"
        b" = 0x0000005502890000\n"
        b"7 mprotect(0x5502890000,4096,PROT_EXEC|PROT_READ|0x10) = 0\n"
    )
    assert follow_subject(log, 7).unread == ()


def test_what_came_after_the_last_table_counts() -> None:
    log = read_log(
        b"start            end              size             prot\n"
        b"0000000000010000-0000000000050000 0000000000040000 rwx\n"
        b" = 0x0000000000010000\n"
        b"7 munmap(0x0000000000010000,65536) = 0\n"
        b"7 mprotect(0x0000000000020000,65536,PROT_READ) = 0\n"
        b"7 read(0,0xffa7ab10,1) = 1\n"
    )
    host = "00010000-00050000 rw-p 00000000 00:00 0 \n"
    record = Record(
        argv=("x",), pid=7, ending=Ending(status=0), stdout=b"", stderr=b"", maps={"now": host}
    )
    assert [(m.start, m.end, m.permissions) for m in maps_at(record, log, "now")] == [
        (0x20000, 0x30000, "r--p"),
        (0x30000, 0x50000, "rwxp"),
    ]


def test_threads_write_into_one_anothers_lines() -> None:
    log = read_log(read("threads.log"))
    subject_trace = follow_subject(log, 25844)
    assert subject_trace.threads == 4
    assert len(subject_trace.steps) > 150
    record = Record(
        argv=("x",),
        pid=25844,
        ending=Ending(status=0),
        stdout=b"",
        stderr=b"",
        maps={},
        trace=read("threads.log"),
        emulator=b"",
    )
    seen = observe_program(replace(record, emulator=record.trace))
    assert (seen.contradictions, seen.outcome) == ((), Outcome.STARTS)
    assert "4 threads" in seen.evidence["started"]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("7 brk(NULL) = 0x0000000000085a000\n", [("brk", 0x85A000, "")]),
        (
            '7 openat(AT_FDCWD,"/x",O_RDONLY) = -1 errno=2 (No such file)\n',
            [("openat", -1, "ENOENT")],
        ),
        ("7 clock_gettime(1,0x1) = 0 ({tv_sec = 15166,tv_nsec = 8})\n", [("clock_gettime", 0, "")]),
        (
            "7 futex(0x1,0)7 mmap(NULL,4096,PROT_READ,MAP_PRIVATE,-1,0) = 0x5000\n = 0\n",
            [("mmap", 0x5000, ""), ("futex", 0, "")],
        ),
        ("7 exit_group(3)\n", [("exit_group", None, "")]),
        (
            "7 mmap(NULL,4096,PROT_READ,MAP_PRIVATE,-1,0)8 exit_group(3) = 0x5000\n",
            [("exit_group", None, ""), ("mmap", 0x5000, "")],
        ),
        ("7 getppid()8 exit_group(3) = 5\n", [("exit_group", None, ""), ("getppid", 5, "")]),
        (
            "7 mmap(NULL,4096,PROT_READ,MAP_PRIVATE,-1,0)8 exit_group(3)page layout changed "
            "following mmap\nstart            end              size             prot\n = 0x5000\n",
            [("exit_group", None, ""), ("mmap", 0x5000, "")],
        ),
        ("--- SIGSEGV {si_signo=SIGSEGV, si_code=1, si_addr = 0x8} ---\n", []),
        ("7 mmap(NULL,4096,PROT_READ,MAP_PRIVATE,-1,0)", []),
    ],
)
def test_lines(text: str, calls: list[tuple[str, int | None, str]]) -> None:
    entries = read_log(text.encode()).entries
    assert [(c.name, c.result, c.errno) for c in entries if isinstance(c, Call)] == calls


def test_an_answer_that_cannot_be_is_not_believed() -> None:
    log = read_log(b"7 mmap(NULL,4096,PROT_READ,MAP_PRIVATE|MAP_ANONYMOUS,-1,0) = 0\n")
    assert log.entries == ()
    assert len(log.unread) == 1


def test_a_death_by_signal_leaves_no_ending_in_the_log() -> None:
    log = b"7 brk(NULL) = 0x5000\n"
    killed = Record(
        argv=("x",),
        pid=7,
        ending=Ending(status=-1, signal=11),
        stdout=b"",
        stderr=b"",
        maps={},
        trace=log,
        emulator=log,
    )
    assert observe_program(killed).contradictions == ()
    [against] = observe_program(replace(killed, ending=Ending(status=0))).contradictions
    assert against.code is Code.TRACE_VS_ENDING


@given(st.binary(max_size=400), st.sampled_from(["", "start end size prot\n", "7 mmap(", " = 0x1"]))
def test_nothing_raises(noise: bytes, before: str) -> None:
    log = read_log(before.encode() + noise)
    assert all(isinstance(each, Call | Table) for each in log.entries)
    follow_subject(log, 7)
    record = Record(
        argv=("x",),
        pid=7,
        ending=Ending(status=0),
        stdout=b"",
        stderr=b"",
        maps={"now": ""},
        trace=noise,
        emulator=noise,
    )
    observe_program(record)


@pytest.mark.parametrize(
    ("log", "status", "agrees"),
    [
        (b"7 exit(0)\n", 0, True),
        (b"7 exit(5)\n", 5, True),
        (b"7 exit(5)\n", 0, False),
        (b"7 exit(0)\n7 exit(9)\n", 9, True),  # of threads: the last one ends the process
        (b"7 exit(0)\n7 exit_group(3)\n", 3, True),
        (b"7 brk(NULL) = 0x5000\n", 0, False),
    ],
)
def test_a_program_may_end_by_exit(log: bytes, status: int, *, agrees: bool) -> None:
    found = doubts(follow_subject(read_log(log), 7), Ending(status=status))
    assert samples.codes(found) == ([] if agrees else [Code.TRACE_VS_ENDING])
