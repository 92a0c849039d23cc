"""A program that reports nothing: its way, from trace, maps and ending."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.record import Ending, Record
from harness.verdict import Expectation, Outcome, Path
from harness.witnesses import observe_program

BEGIN = '7 execve("/init", [], 0) = 0\n7 execve("/server", [], 0) = 0\n'
ANON = "PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0"
HIGH = f"7 mmap(0xc000000000, 1073741824, {ANON})"
LOW = f"7 mmap(0x10000000, 671088640, {ANON})"
ENOMEM = "= -1 ENOMEM (Cannot allocate memory)"


def record(*lines: str, status: int = 0, stderr: str = "", **more: object) -> Record:
    trace = BEGIN + "".join(f"{line}\n" for line in lines) + f"7 +++ exited with {status} +++\n"
    return Record((), 7, Ending(status), b"", stderr.encode(), trace=trace.encode(), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "path", "told"),
    [
        ([f"{HIGH} = 0xc000000000"], Path.HIGH, "1G --- at 0xc000000000: honoured"),
        ([f"{HIGH} = 0x68000000"], Path.LOW, "moved, 0x68000000, held, took it"),
        ([f"{HIGH} = 0x68000000", "7 munmap(0x68000000, 1073741824) = 0", f"{LOW} = 0x10000000"],
         Path.LOW, "unmapped, gave it back, and asked for less; 640M --- at 0x10000000: honoured"),
        ([f"{HIGH} {ENOMEM}", f"{LOW} {ENOMEM}"], Path.REFUSED, "ENOMEM, asked for less; 640M"),
        ([f"{HIGH} {ENOMEM}", f"{HIGH.replace('0xc0', '0x1c0')} = 0x1c000000000"], Path.HIGH,
         "refused, ENOMEM, tried elsewhere"),
        (["7 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x1000"], None,
         "nothing large, nothing with a hint"),
    ],
)  # fmt: skip
def test_the_way_of_a_program(lines: list[str], path: Path | None, told: str) -> None:
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


def test_what_still_runs_has_started() -> None:
    trace = f"{BEGIN}{HIGH} = 0xc000000000\n7 +++ killed by SIGKILL +++\n"
    maps = "c000000000-c040000000 ---p 00000000 00:00 0 \n"
    one = Record((), 7, Ending(-1, 9), b"", b"", {"running": maps}, trace.encode(), running=True)
    seen = observe_program(one)
    assert (seen.outcome, seen.path, seen.contradictions) == (Outcome.STARTS, Path.HIGH, ())
    assert "still running" in seen.evidence["ending"]
    lie = observe_program(Record(
        (), 7, Ending(-1, 9), b"", b"", {"running": maps.replace("---p", "rw-p")}, trace.encode(),
        running=True,
    ))  # fmt: skip
    assert "the trace leaves c000000000-c040000000 ---" in lie.contradictions[0]
    assert "the maps at running show c000000000-c040000000 rw-p" in lie.contradictions[0]


def test_a_trace_that_was_cut_is_no_contradiction() -> None:
    one = Record((), 7, Ending(0), b"", b"", trace=BEGIN.encode() + b"7 mma", cut=("trace",))
    assert observe_program(one).contradictions == ()


@pytest.mark.parametrize("text", ["", "start", "path:up", "path:", "dies", "dies:("])
def test_an_expectation_that_makes_no_sense(text: str) -> None:
    with pytest.raises(ValueError, match=r"regular expression|write starts"):
        Expectation.parse(text)


@given(st.binary(max_size=200), st.text(max_size=40), st.integers(0, 255))
def test_no_record_raises(trace: bytes, maps: str, status: int) -> None:
    observe_program(Record((), 7, Ending(status), b"", b"", {"running": maps}, trace))
    observe_program(Record((), 7, Ending(status), b"", b"", {"running": maps}))
