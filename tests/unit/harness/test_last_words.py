"""Which line of its output says why a program died."""

from __future__ import annotations

import pytest

from foothold_lab.harness.evidence.last_words import LONGEST_MESSAGE, choose_message
from foothold_lab.harness.evidence.program import observe_program
from foothold_lab.harness.model.record import Ending, Record

THROW = "throw: runtime: cannot reserve arena virtual address space"
NODE = """
<--- Last few GCs --->
[7:0x1] 23 ms: Scavenge 3.9 (4.1) -> 3.8 MB, 0.3 / 0.0 ms allocation failure;
<--- JS stacktrace --->
FATAL ERROR: NewSpace::EnsureCurrentCapacity Allocation failed - JavaScript heap out of memory
----- Native stack trace -----
"""
PYTHON = """Traceback (most recent call last):
  File "/a.py", line 3, in <module>
    raise RuntimeError("cannot")
MemoryError: 64 MiB
"""
JAVA = """Error occurred during initialization of VM
Could not reserve enough space for 17825792KB object heap
"""
RUST = """
thread 'main' panicked at src/main.rs:2:5:
no room
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""
BUN = """Learn how to report a failure: run with --help for more information on how to
error: cannot allocate a Gigacage
"""


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (NODE, NODE.splitlines()[4]),
        (PYTHON, "MemoryError: 64 MiB"),
        (JAVA, "Error occurred during initialization of VM"),
        (RUST, "thread 'main' panicked at src/main.rs:2:5:"),
        (BUN, "error: cannot allocate a Gigacage"),
        ("0 errors, 3 tests\nstopping\n", "stopping"),
        ("stopping\nSee https://example.org for details\n", "stopping"),
        ("#\n#\n", ""),
        ("    throw new Error('x');\n", "throw new Error('x');"),
        ("ab\xadc\n", "ab\xadc"),
    ],
)
def test_chooses_the_first_line_of_an_error(stderr: str, message: str) -> None:
    assert choose_message(b"", stderr.encode()) == message


@pytest.mark.parametrize("before", range(4000, 4100, 7))
def test_never_cuts_a_line(before: int) -> None:
    text = b"x" * (before - 1) + b"\n" + THROW.encode() + b"\n" + b"goroutine 1\n" * 900
    assert choose_message(b"", text) == THROW


@pytest.mark.parametrize("before", range((256 << 10) - 80, (256 << 10) + 20, 9))
def test_never_cuts_a_line_of_a_large_output(before: int) -> None:
    text = b"x" * (before - 1) + b"\n" + THROW.encode() + b"\n" + b"goroutine 1\n" * 90_000
    assert choose_message(b"", text) in (THROW, "goroutine 1")


def test_reads_standard_error_before_standard_output() -> None:
    assert choose_message(b"test 3 failed\n", b"fatal: no memory\n") == "fatal: no memory"
    assert choose_message(b"test 3 failed\n", b"bye\n") == "test 3 failed"
    assert choose_message(b"one\ntwo\n", b"") == "two"


def test_prefers_the_cause_on_the_other_output_to_its_consequence() -> None:
    log = b"[0.1s][error][gc] Failed to reserve enough address space for Java heap\n"
    summary = b"Error: Could not create the Java Virtual Machine.\n"
    more = b"Error: A fatal exception has occurred. Program will exit.\n"
    assert "Failed to reserve" in choose_message(log, summary + more)
    assert choose_message(b"", summary + more) == summary.decode().strip()


def test_marks_a_line_that_is_too_long() -> None:
    message = choose_message(b"", b"error: " + b"x" * 9000)
    assert (len(message), message[-1]) == (LONGEST_MESSAGE, "…")


def test_a_death_by_a_signal_has_a_message() -> None:
    ending = Ending(status=-1, signal=6)
    record = Record(argv=(), pid=7, ending=ending, stdout=b"", stderr=b"double free, abort\n")
    assert str(observe_program(record)) == "killed by SIGABRT: double free, abort"
