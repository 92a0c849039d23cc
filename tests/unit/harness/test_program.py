"""A program that reports nothing: its way, from trace, maps and ending."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.evidence import observe_program
from foothold_lab.harness.evidence.program import MANY_CALLS
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Ending, Record, Stop
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath
from tests.unit.harness import samples

BEGIN = '7 execve("/init", [], 0) = 0\n7 execve("/server", [], 0) = 0\n'
ANON = "PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0"
HIGH = f"7 mmap(0xc000000000, 1073741824, {ANON})"
LOW = f"7 mmap(0x10000000, 671088640, {ANON})"
ENOMEM = "= -1 ENOMEM (Cannot allocate memory)"


def record(
    *lines: str, status: int = 0, stderr: str = "", stdout: bytes = b"", **more: object
) -> Record:
    trace = BEGIN + "".join(f"{line}\n" for line in lines) + f"7 +++ exited with {status} +++\n"
    return Record(
        argv=(),
        pid=7,
        ending=Ending(status=status),
        stdout=stdout,
        stderr=stderr.encode(),
        trace=trace.encode(),
        **more,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "path", "told"),
    [
        ([f"{HIGH} = 0xc000000000"], ReservationPath.HIGH, "1G --- at 0xc000000000: honoured"),
        ([f"{HIGH} = 0x68000000"], ReservationPath.LOW, "moved, 0x68000000, kept"),
        (
            [f"{HIGH} = 0x68000000", "7 munmap(0x68000000, 1073741824) = 0", f"{LOW} = 0x10000000"],
            ReservationPath.LOW,
            "unmapped, gave it back, and asked for less; 640M --- at 0x10000000: honoured",
        ),
        (
            [f"{HIGH} {ENOMEM}", f"{LOW} {ENOMEM}"],
            ReservationPath.REFUSED,
            "ENOMEM, asked for less; 640M",
        ),
        (
            [f"{HIGH} {ENOMEM}", f"{HIGH.replace('0xc0', '0x1c0')} = 0x1c000000000"],
            ReservationPath.HIGH,
            "refused, ENOMEM, tried elsewhere",
        ),
        (
            ["7 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x1000"],
            None,
            "nothing large, nothing with a hint",
        ),
    ],
)
def test_the_way_of_a_program(lines: list[str], path: ReservationPath | None, told: str) -> None:
    seen = observe_program(record(*lines))
    assert (seen.path, seen.outcome, seen.contradictions) == (path, Outcome.STARTS, ())
    assert told in seen.evidence["trace"]


def test_a_death_and_what_was_done_before() -> None:
    seen = observe_program(record(f"{HIGH} {ENOMEM}", status=3, stderr="no memory\n"))
    assert seen.evidence["trace"] == "1G --- at 0xc000000000: refused, ENOMEM, gave up"
    assert str(seen) == "dies, status 3: no memory"
    assert seen.is_as(Expectation.parse("dies:no mem"))
    assert not seen.is_as(Expectation.parse("dies:segfault"))
    assert not seen.is_as(Expectation.parse("starts"))
    assert seen.is_as(Expectation.parse("path:refused"))


@pytest.mark.parametrize(
    ("status", "name"),
    [(139, "SIGSEGV"), (134, "SIGABRT"), (137, "SIGKILL"), (132, "SIGILL"), (159, "SIGSYS")],
)
def test_a_status_names_the_signal_of_a_child(status: int, name: str) -> None:
    fork = "7 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 8"
    seen = observe_program(record(fork, status=status))
    assert seen.evidence["ending"] == f"status {status}: a child was probably killed by {name}"
    alone = observe_program(record(status=status))  # no shell: the status is its own
    assert alone.evidence["ending"] == f"status {status}"


@pytest.mark.parametrize("status", [1, 127, 128, 160, 255])
def test_other_statuses_name_no_signal(status: int) -> None:
    fork = "7 vfork() = 8"
    assert observe_program(record(fork, status=status)).evidence["ending"] == f"status {status}"


def test_a_death_without_a_word() -> None:
    seen = observe_program(record(status=5))
    assert (seen.outcome, str(seen)) == (Outcome.DIES, "dies, status 5")


def test_what_still_runs_has_started() -> None:
    trace = f"{BEGIN}{HIGH} = 0xc000000000\n7 +++ killed by SIGKILL +++\n"
    maps = "c000000000-c040000000 ---p 00000000 00:00 0 \n"
    one = Record(
        argv=(),
        pid=7,
        ending=Ending(status=-1, signal=9),
        stdout=b"",
        stderr=b"",
        maps={"running": maps},
        trace=trace.encode(),
        stopped=True,
    )
    seen = observe_program(one)
    assert (seen.outcome, seen.path, seen.contradictions) == (
        Outcome.STARTS,
        ReservationPath.HIGH,
        (),
    )
    assert "still running" in seen.evidence["ending"]
    lie = observe_program(
        Record(
            argv=(),
            pid=7,
            ending=Ending(status=-1, signal=9),
            stdout=b"",
            stderr=b"",
            maps={"running": maps.replace("---p", "rw-p")},
            trace=trace.encode(),
            stopped=True,
        )
    )
    shown = ("c000000000-c040000000 ---", "running", "c000000000-c040000000 rw-p")
    assert samples.says(lie.contradictions[:1], Code.MAPS_VS_TRACE, *shown)


ENDED = "c000000000-c040000000 ---p 00000000 00:00 0 \n"


def test_the_maps_of_one_that_ended_are_held_against_its_trace() -> None:
    seen = observe_program(record(f"{HIGH} = 0xc000000000", maps={"end": ENDED}))
    assert (seen.outcome, seen.contradictions) == (Outcome.STARTS, ())
    assert seen.evidence["maps at the end"] == "1G --- at 0xc000000000"
    told = observe_program(record(maps={"end": ENDED})).contradictions
    assert samples.codes(told) == [Code.MAPS_VS_TRACE]
    assert samples.says(told, Code.MAPS_VS_TRACE, "end", "c000000000-c040000000 ---p")


def test_what_other_threads_do_while_the_maps_are_read_is_no_contradiction() -> None:
    clone = "7 clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = 8"
    late = f"{HIGH} = 0xc000000000", f"8{LOW[1:]} = 0x10000000", "8 munmap(0xc000000000, 4096) = 0"
    seen = observe_program(record(clone, *late, maps={"end": ENDED}))
    assert seen.contradictions == ()
    alone = observe_program(record(*(f"7{each[1:]}" for each in late), maps={"end": ENDED}))
    assert samples.says(alone.contradictions[:1], Code.MAPS_VS_TRACE, "10000000-38000000 ---")
    before = "8 mmap(0x600000000, 134217728, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)"
    many = ["8 mprotect(0xc000000000, 4096, PROT_NONE) = 0"] * 300
    seen = observe_program(record(clone, f"{before} = 0x600000000", *many, maps={"end": ENDED}))
    assert samples.says(seen.contradictions[:1], Code.MAPS_VS_TRACE, "600000000-608000000 ---")
    under_way = (
        "8 mmap(NULL, 134217728, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0 <unfinished ...>"
    )
    for end in ("8 <... mmap resumed>) = ?", "8 +++ exited with 0 +++"):
        seen = observe_program(record(clone, under_way, end, maps={"end": ENDED}))
        assert seen.contradictions == ()


RAN = {"running": "c000000000-c040000000 ---p 00000000 00:00 0 \n"}


def stopped(
    *lines: str,
    ready: bool = False,
    stdout: bytes = b"",
    trace: bool = True,
    stop: Stop | None = None,
    maps: Mapping[str, str] = RAN,
) -> Record:
    """It was ended by us."""
    text = BEGIN + "".join(f"{line}\n" for line in lines) + "7 +++ killed by SIGKILL +++\n"
    return Record(
        argv=(),
        pid=7,
        ending=Ending(status=-1, signal=9),
        stdout=stdout,
        stderr=b"",
        maps=maps,
        trace=text.encode() if trace else None,
        stopped=True,
        ready=ready,
        stop=stop,
    )


def test_one_that_says_when_it_has_started() -> None:
    wanted = {"ready_pattern": "^ready$"}
    trace = f"{HIGH} = 0xc000000000"
    assert observe_program(stopped(trace, ready=True), **wanted).outcome is Outcome.STARTS
    silent = observe_program(stopped(trace), **wanted)
    assert (silent.outcome, str(silent)) == (Outcome.HANGS, "high, hangs")
    assert not silent.is_as(Expectation.parse("starts"))
    assert not silent.is_as(Expectation.parse("dies:"))
    ended = observe_program(record(trace, stdout=b"hello\nready\n"), **wanted)
    assert ended.outcome is Outcome.STARTS
    mute = observe_program(record(trace), **wanted)
    assert (mute.outcome, mute.message) == (Outcome.DIES, "it ended before it printed /^ready$/")


@pytest.mark.parametrize(
    ("lines", "activity", "reason"),
    [
        ([f"{HIGH} {ENOMEM}"], "runs", "all its large reservations were refused"),
        ([f"{HIGH} = 0xc000000000"], "faults", "its page faults give it no memory"),
        (
            [f"{HIGH} = 0xc000000000", *[f"{LOW} {ENOMEM}"] * MANY_CALLS],
            "runs",
            "its last 100 reservations were refused",
        ),
        ([f"{HIGH} {ENOMEM}"], "waits", ""),
        ([f"{HIGH} = 0xc000000000", *[f"{LOW} {ENOMEM}"] * (MANY_CALLS - 1)], "runs", ""),
    ],
)
def test_starts_only_if_it_waits_or_makes_progress(
    lines: list[str], activity: str, reason: str
) -> None:
    stop = Stop(reason="timeout", activity=activity, calls="poll")
    seen = observe_program(stopped(*lines, stop=stop))
    assert seen.outcome is (Outcome.HANGS if reason else Outcome.STARTS)
    assert reason in str(seen)
    assert ("it waits in poll" in seen.evidence["ending"]) == (activity == "waits")


def test_an_unmet_ready_condition_hangs() -> None:
    stop = Stop(reason="timeout", activity="waits", calls="poll")
    one = stopped(f"{HIGH} = 0xc000000000", stop=stop)
    assert observe_program(one, must_be_ready=True).outcome is Outcome.HANGS
    assert observe_program(one).outcome is Outcome.STARTS


def test_does_not_compare_maps_of_threads_that_did_not_stop() -> None:
    maps = {"running": "1000-2000 rw-p 00000000 00:00 0 \n"}
    line = f"{HIGH} = 0xc000000000"
    complete = Stop(reason="timeout")
    assert observe_program(stopped(line, maps=maps, stop=complete)).contradictions
    partial = Stop(reason="timeout", complete=False)
    seen = observe_program(stopped(line, maps=maps, stop=partial))
    assert seen.contradictions == ()
    assert "not all threads" in seen.evidence["stopped"]


def test_one_that_has_to_end_and_does_not() -> None:
    trace = f"{HIGH} = 0xc000000000"
    assert observe_program(stopped(trace), must_be_ready=True).outcome is Outcome.HANGS
    assert observe_program(stopped(trace)).outcome is Outcome.STARTS
    done = observe_program(
        record(trace, stdout=b"hello\n"), ready_pattern="hello", must_be_ready=True
    )
    assert done.outcome is Outcome.STARTS


def test_the_run_without_a_tracer_says_how_it_ends_and_the_traced_one_its_way() -> None:
    """OpenJDK with ZGC in 39 bits: traced it is busy for a minute, and it dies in four seconds."""
    traced = stopped(f"{HIGH} {ENOMEM}", trace=True)
    untraced = Record(
        argv=(),
        pid=9,
        ending=Ending(status=1, wall=1.4),
        stdout=b"[gc] Failed to reserve 500M\nbye\n",
        stderr=b"",
    )
    seen = observe_program(traced, untraced, ready_pattern="^hello$", must_be_ready=True)
    assert (seen.outcome, seen.status, seen.path) == (Outcome.DIES, 1, ReservationPath.REFUSED)
    assert seen.message == "[gc] Failed to reserve 500M"
    assert "still running" in seen.evidence["ending, traced"]
    assert seen.evidence["ending"] == "status 1"
    well = observe_program(
        traced,
        Record(argv=(), pid=9, ending=Ending(status=0), stdout=b"hello\n", stderr=b""),
        ready_pattern="^hello$",
    )
    assert (well.outcome, well.path) == (Outcome.STARTS, ReservationPath.REFUSED)


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (
            "==7==Shadow memory interleaves. ABORTING.\n==7==map follows\n==7==End of map.\n",
            "==7==Shadow memory interleaves. ABORTING.",
        ),
        ("starting\nno luck\n", "no luck"),
        (
            "x\n" * 9000 + "fatal error: out of memory\n\ngoroutine 1\n",
            "fatal error: out of memory",
        ),
        ("", ""),
    ],
)
def test_the_line_that_complains_is_the_message(stderr: str, told: str) -> None:
    assert observe_program(record(status=2, stderr=stderr)).message == told


def test_what_is_cut_off_to_be_aligned_is_not_given_back() -> None:
    asked = "7 mmap(0x3edd04280000, 520192, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)"
    cut = observe_program(record(f"{asked} = 0x4792c000", "7 munmap(0x4792c000, 81920) = 0"))
    assert "moved, 0x4792c000, unmapped, kept" in cut.evidence["trace"]
    back = observe_program(record(f"{asked} = 0x4792c000", "7 munmap(0x4792c000, 520192) = 0"))
    assert "gave it back, and went on without" in back.evidence["trace"]


def test_ten_thousand_refusals_are_told_in_no_time() -> None:
    lines = (f"7 mmap({n << 32:#x}, 4194304, {ANON}) {ENOMEM}" for n in range(1, 10_000))
    seen = observe_program(record(*lines))
    assert "tried elsewhere, and 9,997 more, the last at 0x270e00000000" in seen.evidence["trace"]


def test_a_trace_that_was_cut_is_no_contradiction() -> None:
    one = Record(
        argv=(),
        pid=7,
        ending=Ending(status=0),
        stdout=b"",
        stderr=b"",
        trace=BEGIN.encode() + b"7 mma",
        cut=("trace",),
    )
    assert observe_program(one).contradictions == ()


@pytest.mark.parametrize("text", ["", "start", "path:up", "path:", "dies", "dies:("])
def test_an_expectation_that_makes_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match=r"regular expression|unknown expectation"):
        Expectation.parse(text)


@given(st.binary(max_size=200), st.text(max_size=40), st.integers(0, 255))
def test_no_record_raises(trace: bytes, maps: str, status: int) -> None:
    observe_program(
        Record(
            argv=(),
            pid=7,
            ending=Ending(status=status),
            stdout=b"",
            stderr=b"",
            maps={"running": maps},
            trace=trace,
        )
    )
    observe_program(
        Record(
            argv=(),
            pid=7,
            ending=Ending(status=status),
            stdout=b"",
            stderr=b"",
            maps={"running": maps},
        )
    )


@pytest.mark.parametrize("result", ["-1 ENOMEM (Cannot allocate memory)", "?"])
def test_a_program_that_the_kernel_kills_in_execve_is_no_contradiction(result: str) -> None:
    """As UML 6.1 kills one that is linked above the end of its address space."""
    killed = f'7 execve("/far", [], 0) = {result}\n7 +++ killed by SIGSEGV +++\n'
    ending = Ending(status=-1, signal=11)
    trace = f"{BEGIN.splitlines()[0]}\n{killed}".encode()
    one = Record(argv=(), pid=7, ending=ending, stdout=b"", stderr=b"", trace=trace)
    seen = observe_program(one)
    assert (seen.contradictions, str(seen)) == ((), "killed by SIGSEGV")
    assert seen.evidence["killed in"].startswith('execve("/far", [], 0) = ')
    survived = trace.replace(b"killed by SIGSEGV", b"exited with 0")
    other = Record(argv=(), pid=7, ending=Ending(status=0), stdout=b"", stderr=b"", trace=survived)
    assert samples.codes(observe_program(other).contradictions) == [Code.TRACE_INCOMPLETE]


@pytest.mark.parametrize(
    ("expect", "lines", "status", "met"),
    [
        ("starts-clean", [f"{HIGH} = 0xc000000000"], 0, True),
        ("starts-clean", [f"{HIGH} = 0x68000000"], 0, False),
        ("starts-clean", [f"{HIGH} {ENOMEM}", f"{LOW} = 0x10000000"], 0, False),
        ("starts-clean", [f"{HIGH} = 0xc000000000"], 1, False),
        ("status:3", [], 3, True),
        ("status:3", [], 2, False),
        ("status:0", [], 0, True),
        ("says:^no luck$", [], 0, False),
        ("says:no luck", [], 5, True),
        ("says:more luck", [], 5, False),
        ("signal:SEGV", [], 11, False),
        ("panics:", [], 1, False),
    ],
)
def test_an_expectation_holds_for_what_it_says(
    expect: str, lines: list[str], status: int, met: bool
) -> None:
    seen = observe_program(record(*lines, status=status, stderr="it had no luck today\n"))
    assert seen.is_as(Expectation.parse(expect)) is met


def test_a_program_that_was_stopped_has_no_exit_status() -> None:
    seen = observe_program(stopped(f"{HIGH} = 0xc000000000", ready=True))
    assert seen.is_as(Expectation.parse("starts-clean"))
    assert not seen.is_as(Expectation.parse("status:0"))


def test_an_untraced_program_is_not_known_to_start_clean() -> None:
    untraced = Record(argv=(), pid=7, ending=Ending(status=0), stdout=b"", stderr=b"")
    seen = observe_program(untraced)
    assert not seen.is_as(Expectation.parse("starts-clean"))
    assert seen.hindered == "the program was not traced"


@pytest.mark.parametrize("name", ["SIGSEGV", "SEGV", "segv", "11"])
def test_a_signal_ends_it(name: str) -> None:
    killed = Record(argv=(), pid=7, ending=Ending(status=-1, signal=11), stdout=b"", stderr=b"")
    seen = observe_program(killed)
    assert seen.is_as(Expectation.parse(f"signal:{name}"))
    assert not seen.is_as(Expectation.parse("signal:SIGKILL"))


@pytest.mark.parametrize("text", ["status:", "status:-1", "status:256", "signal:FOO", "says:("])
def test_rejects_an_expectation_without_a_valid_value(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not an? "):
        Expectation.parse(text)
