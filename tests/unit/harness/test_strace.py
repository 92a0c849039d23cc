"""Reading strace's logs: real ones of every guest, and whatever else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.evidence.strace import (
    SubjectTrace,
    Trace,
    doubts,
    follow_subject,
    last_refusal,
    parse_trace,
)
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.ledger import Answer, Map, ReservationState, replay
from foothold_lab.harness.model.record import Ending
from tests.unit.harness import samples

RECORDED = Path(__file__).parents[2] / "data" / "strace"
GUESTS = ("native", "qemu-x86_64", "uml-6.1", "uml-6.12", "uml-7.2", "agent")
NARROW = ("uml-6.1", "uml-6.12", "agent")  # 39 bits, or less


def read(name: str) -> tuple[Trace, SubjectTrace]:
    log = (RECORDED / f"{name}.log").read_bytes()
    trace = parse_trace(log)
    return trace, follow_subject(trace, int(re.findall(rb"\d+", log)[0]))


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.log")), ids=lambda path: path.stem)
def test_every_line_of_a_real_log_is_understood(path: Path) -> None:
    trace, subject_trace = read(path.stem)
    assert (trace.unknown, trace.quoted, subject_trace.unread) == (0, (), ())
    assert subject_trace.programs
    assert subject_trace.ending
    assert len(trace.calls) > 30


@pytest.mark.parametrize("guest", GUESTS)
def test_the_arena_of_2012_as_the_kernel_was_asked_for_it(guest: str) -> None:
    _, subject_trace = read(f"{guest}-after")
    probe, *rest = (each for each in replay(subject_trace.steps).ledger if each.notable)
    assert (probe.requested, probe.length, probe.protection) == (0xF8 << 32, 65536, "---")
    if guest in NARROW:
        assert probe.answer is Answer.MOVED
        arena = next(each for each in rest if each.length == 640 << 20)
        assert arena.answer is Answer.HONOURED
        assert arena.states == (ReservationState.REPLACED, ReservationState.KEPT)
    else:
        assert (probe.answer, probe.states) == (Answer.HONOURED, (ReservationState.UNMAPPED,))
        assert rest[0].granted == 0xF840000000


@pytest.mark.parametrize("guest", GUESTS)
def test_threads_are_one_address_space(guest: str) -> None:
    trace, subject_trace = read(f"{guest}-threads")
    assert (subject_trace.threads, subject_trace.children) == (4, 0)
    blocks = [
        step
        for step in subject_trace.steps
        if isinstance(step, Map)
        and step.reservation.length == 1 << 20
        and "SHARED" in step.reservation.flags
    ]
    assert len(blocks) == 80, "each of those that were interrupted by another thread is whole"
    assert len(trace.endings) == 5
    assert not trace.open


@pytest.mark.parametrize("guest", GUESTS)
def test_children_and_signals(guest: str) -> None:
    trace, subject_trace = read(f"{guest}-family")
    assert subject_trace.programs == ("/bin/sh",)
    assert (subject_trace.threads, subject_trace.children) == (0, 3)
    assert subject_trace.ending == "killed by SIGKILL"
    assert any("SIGCHLD" in each for each in trace.signals)
    assert doubts(trace, subject_trace, Ending(status=-1, signal=9)) == []


def test_what_a_fault_has_mapped_is_there_and_not_of_the_programs_own_asking() -> None:
    trace, subject_trace = read("agent-after")
    assert trace.by_agent
    address_space = replay(subject_trace.steps)
    occupied = next(each for each in address_space.ledger if each.granted == 0x2000000000)
    assert (occupied.injected, occupied.notable, occupied.states) == (
        True,
        False,
        (ReservationState.KEPT,),
    )
    assert any(piece.start == 0x2000000000 for piece in address_space.layout)


def test_each_execve_begins_a_new_address_space() -> None:
    _, subject_trace = read("uml-7.2-exec")
    assert subject_trace.programs == ("/bin/sh", "/bin/sh", "/usr/bin/python3")
    refused = [each for each in replay(subject_trace.steps).ledger if each.answer is Answer.REFUSED]
    assert [(each.length >> 20, each.errno) for each in refused] == [
        (1024, "ENOMEM"),
        (1025, "ENOMEM"),
    ]


def test_a_death_by_signal() -> None:
    trace, subject_trace = read("uml-6.12-segv")
    assert "SIGSEGV" in trace.signals[0]
    assert doubts(trace, subject_trace, Ending(status=-1, signal=11)) == []
    [doubt] = doubts(trace, subject_trace, Ending(status=0))
    assert samples.says([doubt], Code.TRACE_VS_ENDING, "killed by SIGSEGV", "exited with 0")


MMAP = "7 mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0"


@pytest.mark.parametrize(
    ("lines", "name", "result", "errno"),
    [
        (f"{MMAP}) = 0x1000", "mmap", 0x1000, ""),
        (f"{MMAP}) = -1 ENOMEM (Cannot allocate memory)", "mmap", -1, "ENOMEM"),
        (f"{MMAP}) = -1 ENOMEM (Cannot allocate memory) (INJECTED)", "mmap", -1, "ENOMEM"),
        (
            f"{MMAP} <unfinished ...>\n8 brk(NULL) = 0x1\n7 <... mmap resumed>) = 0x2000",
            "mmap",
            0x2000,
            "",
        ),
        ("7 exit_group(0) = ?", "exit_group", None, ""),
        (
            "7 munmap(0x1000, 1) = ? ERESTARTNOINTR (To be restarted)",
            "munmap",
            None,
            "ERESTARTNOINTR",
        ),
        ("7 ???( <unfinished ...>\n7 <... ??? resumed>) = ?", "???", None, ""),
        (f"{MMAP}) = ? <unavailable>", "mmap", None, ""),
        ('7 execve("/a, \\"b", ["x)", "{"], 0x7f /* 3 vars */) = 0', "execve", 0, ""),
        ("7 prlimit64(0, RLIMIT_AS, NULL, {rlim_cur=1, rlim_max=2}) = 0", "prlimit64", 0, ""),
    ],
)
def test_lines(lines: str, name: str, result: int | None, errno: str) -> None:
    trace = parse_trace(f"{lines}\n".encode())
    call = next(each for each in trace.calls if each.pid == 7)
    assert (call.name, call.result, call.errno, trace.unknown) == (name, result, errno, 0)


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "7 hello",
        "7 mmap(",
        f"{MMAP})",
        f"{MMAP}) = fine",
        "7 <... mmap resumed>) = 0x1",
        "7 +++ exited with grace +++",
        "7 --- SIG ---",
        f"{MMAP}]) = 0x1",
        '7 execve("a) = 0',
        f"{MMAP}) = 5 ENOMEM (what)",
        "mmap(NULL) = 0",
        "\x1b[2J",
        "",
    ],
)
def test_what_strace_does_not_write_is_counted_and_quoted(line: str) -> None:
    trace = parse_trace(f"{line}\n".encode())
    assert (trace.unknown, trace.quoted) == (1, (line[:200],))


def test_a_log_that_breaks_off_says_so() -> None:
    log = (RECORDED / "uml-6.1-after.log").read_bytes()[:-30]
    trace = parse_trace(log)
    subject_trace = follow_subject(trace, int(log.split()[0]))
    assert not trace.by_agent
    assert Code.TRACE_INCOMPLETE in samples.codes(doubts(trace, subject_trace, Ending(status=0)))
    assert trace.unknown == 1


def test_what_strace_complains_of_is_kept_apart() -> None:
    trace = parse_trace(b"/usr/bin/strace: Exit of unknown pid 12 ignored\n")
    assert (trace.complaints, trace.unknown) == (("Exit of unknown pid 12 ignored",), 0)


def test_a_warning_about_another_personality_is_left_out() -> None:
    """As strace 6.1 for arm64 traced a program for arm."""
    log = (
        b'99    execve("/init", ["/init", "exec"], 0x7fffe2567ec0 /* 9 vars */) = 0\n'
        b'99    execve("/parm", ["/parm"], 0x7ffff99d66d8 /* 9 vars *//usr/bin/strace: WARNING: '
        b"Proper structure decoding for this personality is not supported, please consider building "
        b"strace with mpers support enabled.\n) = 0\n"
        b"99    mmap2(0x30000000, 268435456, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, -1, "
        b"0) = 0x30000000\n"
        b"99    exit_group(0) = ?\n99    +++ exited with 0 +++\n"
    )
    trace = parse_trace(log)
    assert (trace.unknown, trace.complaints, trace.open) == (0, (), ())
    subject_trace = follow_subject(trace, 99)
    assert subject_trace.programs == ("/parm",)
    [step] = subject_trace.steps
    assert isinstance(step, Map)
    assert (step.reservation.granted, step.reservation.length) == (0x30000000, 256 << 20)


def test_a_call_whose_arguments_make_no_sense_is_named() -> None:
    log = b'7 execve("/init", [], 0) = 0\n7 execve("/a", [], 0) = 0\n7 munmap(some, 1) = 0\n'
    assert follow_subject(parse_trace(log), 7).unread == ("munmap(some, 1) = 0",)


@given(st.binary(max_size=300), st.integers(0, 99))
def test_nothing_raises(log: bytes, pid: int) -> None:
    trace = parse_trace(log)
    doubts(trace, follow_subject(trace, pid), Ending(status=0))


def test_a_result_may_begin_with_a_zero() -> None:
    line = b"227 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0) = 040161000\n"  # 0x lost its x
    [call] = parse_trace(line).calls
    assert call.result == 40161000


@given(st.data())
def test_a_bent_log_is_read_to_its_end(data: st.DataObject) -> None:
    log = (RECORDED / "uml-7.2-after.log").read_bytes()
    at = data.draw(st.integers(0, len(log) - 1))
    bent = log[:at] + data.draw(st.sampled_from([b"", b"\n", b"x", b"("])) + log[at + 1 :]
    trace = parse_trace(bent)
    replay(follow_subject(trace, int(log.split()[0])).steps)
    assert trace.unknown <= 2, "a byte spoils the lines that it stands in, and no more"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["mmap(NULL, 134217728, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = -1 ENOMEM (x)"],
            "mmap, 128M --- at anywhere: refused, ENOMEM",
        ),
        (
            ["brk(NULL) = 0x5000", "brk(0x26000) = 0x5000"],
            "brk(0x26000) = 0x5000, the heap does not grow by 132K",
        ),
        (
            ["mprotect(0x1000, 4096, PROT_READ) = -1 ENOMEM (x)", "brk(0x26000) = 0x26000"],
            "mprotect(0x1000, 4096, PROT_READ) = -1 ENOMEM (x)",
        ),
        (
            ["clone3({flags=0}, 88) = -1 EAGAIN (x)", "exit_group(1) = ?"],
            "clone3({flags=0}, 88) = -1 EAGAIN (x)",
        ),
        (['access("/x") = -1 ENOENT (x)', "munmap(0x1000, 4096) = -1 EINVAL (x)"], ""),
    ],
)
def test_the_last_that_was_refused(lines: list[str], told: str) -> None:
    begin = ['execve("/init", [], 0) = 0', "brk(0x9000) = 0x5000", 'execve("/server", [], 0) = 0']
    log = "".join(f"7 {line}\n" for line in [*begin, *lines])
    assert last_refusal(parse_trace(log.encode()), 7) == told
    own = "".join(f"7 {line}\n" for line in ['execve("/server", 0x1, 0x2) = 0', *lines])
    assert last_refusal(parse_trace(f"agent: Process 7 attached\n{own}".encode()), 7) == told


def test_the_last_that_was_refused_to_a_real_program() -> None:
    _, subject_trace = read("uml-6.12-tsan")
    log = (RECORDED / "uml-6.12-tsan.log").read_bytes()
    told = last_refusal(parse_trace(log), int(log.split()[0]))
    assert told == "mmap, 1073741832K --- at exactly 0x720000000000: refused, ENOMEM"
    assert subject_trace.ending == "killed by SIGSEGV"


def test_a_thread_may_map_before_the_call_that_started_it_comes_back() -> None:
    """As strace writes it down where a thread gets the processor at once."""
    anon = "PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0"
    log = [
        '7 execve("/init", [], 0) = 0', '7 execve("/server", [], 0) = 0',
        "7 clone3({flags=CLONE_VM|CLONE_THREAD} <unfinished ...>",
        f"8 mmap(NULL, 134217728, {anon}) = 0x68000000",
        "8 clone3({flags=CLONE_VM|CLONE_THREAD} <unfinished ...>",
        f"9 mmap(NULL, 67108864, {anon}) = 0x58000000",
        "8 <... clone3 resumed> => {parent_tid=[9]}, 88) = 9",
        "7 <... clone3 resumed> => {parent_tid=[8]}, 88) = 8",
        "7 clone3({flags=SIGCHLD} <unfinished ...>",
        f"10 mmap(NULL, 4096, {anon}) = 0x1000",
        "7 <... clone3 resumed>, 88) = 10",
    ]  # fmt: skip
    subject_trace = follow_subject(parse_trace("".join(f"{line}\n" for line in log).encode()), 7)
    assert (subject_trace.threads, subject_trace.children) == (2, 1)
    assert [each.length for each in replay(subject_trace.steps).ledger] == [128 << 20, 64 << 20]


@pytest.mark.parametrize("result", ["0", "12", "-1 ENOSYS (Function not implemented)"])
def test_a_thread_that_executes_a_program_takes_the_number_of_the_first(result: str) -> None:
    """As strace writes it, 6.1 and later: of the result it says what a register happens to hold."""
    log = f"""\
101   execve("/share/one", ["one"], 0x3ff0 /* 9 vars */) = 0
101   clone(child_stack=0x1000, flags=CLONE_VM|CLONE_THREAD) = 113
101   futex(0x1000, FUTEX_WAIT, 1, NULL <unfinished ...>
113   execve("/proc/self/exe", ["one", "child"], 0x3ff0 /* 9 vars */ <pid changed to 101 ...>
101   +++ superseded by execve in pid 113 +++
101   <... execve resumed>)             = {result}
101   brk(NULL)                         = 0x87b10
101   +++ exited with 0 +++
"""
    trace = parse_trace(log.encode())
    assert (trace.unknown, trace.open) == (0, ())
    subject_trace = follow_subject(trace, 101)
    assert subject_trace.programs[-1] == "/proc/self/exe"
    assert subject_trace.ending == "exited with 0"
