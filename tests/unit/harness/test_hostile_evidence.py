"""Witnesses that were forged: no parser raises, and what cannot be is a finding."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.evidence import emulator, observe, observe_program, strace
from foothold_lab.harness.evidence.allocator_report import read_report
from foothold_lab.harness.evidence.maps import MapsError, parse_maps
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import Observation

TASK_SIZE = 1 << 39
HIGH = "0xf800000000"
MAP = f"mmap({HIGH}, 67108864, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = {HIGH}"
BEGIN = '7 execve("./s", ["./s"], 0x7ffe /* 1 var */) = 0\n' * 2  # of the agent, of the subject
ENDS = "7 exit_group(0) = ?\n7 +++ exited with 0 +++\n"
# pieces of lines that these parsers know, with numbers that are too large or make no sense
NUMBERS = (
    "0",
    "-1",
    "018446744073709551616",
    "9" * 30,
    "9" * 5000,
    "0x" + "f" * 30,
    "0x",
    "٣",
    "-0",
)
PIECES = (
    "7 ", "8 ", "99999999999 ", "mmap(", "mmap(NULL,", "munmap(", "mremap(", "brk(", "write(3,",
    "read(0,", "exit_group(", "shmat(", "clone(", ",", ")", " = ", "\n", " errno=12 (x)", " errno=",
    "start            end              size             prot\n", "Locating guest address space @ 0x",
    "0000000000400000-0000000000500000 0000000000100000 r-x\n", "page layout changed following mmap",
    "<unfinished ...>", "<... mmap resumed>", "+++ exited with ", " +++", "--- SIGSEGV {} ---",
    "PROT_READ", "MAP_ANONYMOUS|MAP_PRIVATE", "MAP_FIXED", '"', "[", "]", "{", "}", " ENOMEM (no)",
    "agent: Process 7 attached\n", "00400000-00500000 rw-p 00000000 00:00 0 \n",
    '{"event": "start"}\n', '{"event": "hold", "at": "end"}\n', '{"event": "call", "result": ',
)  # fmt: skip
LINES = st.lists(st.sampled_from(PIECES + NUMBERS), max_size=40).map("".join)
BYTES = st.one_of(LINES.map(str.encode), st.binary(max_size=400))


def record(trace: str = BEGIN + ENDS, **fields: object) -> Record:
    base = Record(argv=(), pid=7, ending=Ending(status=0), stdout=b"", stderr=b"",
                  trace=trace.encode())  # fmt: skip
    return replace(base, **fields)  # type: ignore[arg-type]


def codes(seen: Observation) -> set[str]:
    return {each.code for each in seen.contradictions}


@given(BYTES)
def test_no_parser_raises(text: bytes) -> None:
    strace.follow_subject(strace.parse_trace(text), 7)
    emulator.follow_subject(emulator.read_log(text), 7)
    read_report(text)
    with contextlib.suppress(MapsError):
        parse_maps(text.decode(errors="replace"))


@given(trace=BYTES, log=st.none() | BYTES, out=BYTES, maps=LINES)
def test_no_observer_raises(trace: bytes, log: bytes | None, out: bytes, maps: str) -> None:
    forged = record(
        trace=trace.decode(errors="replace"), stdout=out, stderr=out, emulator=log,
        maps={"reserved": maps, "end": maps, "running": maps},
    )  # fmt: skip
    observe(forged, task_size=TASK_SIZE)
    observe_program(forged, task_size=TASK_SIZE)
    observe_program(replace(forged, stopped=True), task_size=TASK_SIZE)


def test_a_result_of_the_log_that_is_no_number_does_not_end_the_run() -> None:
    log = b"7 write(1,0x40,1)\n = 018446744073709551616\n7 exit_group(0)\n"
    subject = emulator.follow_subject(emulator.read_log(log), 7)
    assert subject.ending == "exited with 0"


@pytest.mark.parametrize("address", [HIGH, "0x7fffff0000"])
def test_a_call_beyond_the_task_size_is_a_contradiction(address: str) -> None:
    trace = BEGIN + f"7 {MAP}\n".replace(HIGH, address) + ENDS
    seen = observe_program(record(trace), task_size=TASK_SIZE)
    assert codes(seen) == {Code.BEYOND_TASK_SIZE}
    assert "ends at 0x8000000000" in seen.contradictions[0].text
    assert observe_program(record(trace), task_size=1 << 47).contradictions == ()


def test_a_reservation_larger_than_the_task_size_is_a_contradiction() -> None:
    trace = BEGIN + f"7 {MAP}\n".replace("67108864", str(1 << 40)).replace(HIGH, "0x10000") + ENDS
    assert codes(observe_program(record(trace), task_size=TASK_SIZE)) == {Code.BEYOND_TASK_SIZE}


def test_maps_beyond_the_task_size_are_a_contradiction() -> None:
    maps = (
        "f800000000-f804000000 rw-p 00000000 00:00 0 \n"
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n"
    )
    seen = observe_program(record(trace=BEGIN + f"7 {MAP}\n" + ENDS, maps={"end": maps}),
                           task_size=TASK_SIZE)  # fmt: skip
    assert codes(seen) == {Code.BEYOND_TASK_SIZE}
    texts = [each.text for each in seen.contradictions]
    assert len(texts) == 2
    assert not any("vsyscall" in text for text in texts)


def test_a_call_after_the_end_is_a_contradiction() -> None:
    seen = observe_program(record(BEGIN + ENDS + f"7 {MAP}\n"))
    assert codes(seen) == {Code.TRACE_AFTER_END}


@pytest.mark.parametrize(
    ("call", "touches"),
    [
        ("write(3,0x40,9)", True),
        ("write(4,0x40,9)", False),
        ("dup2(3,7)", True),
        ("close(3)", True),
        ("fcntl(3,F_DUPFD,100)", True),
        ("fcntl(3,F_GETFD)", False),
        ("fcntl(3,F_SETFD,1)", False),
        ("close_range(3,4294967295,0)", True),
        ("close_range(10,4294967295,0)", False),
        ('openat(AT_FDCWD,"/proc/self/fd/3",O_WRONLY)', True),
        ('openat(AT_FDCWD,"/proc/self/fd/30",O_WRONLY)', False),
        ("sendfile(3,4,NULL,9)", True),
    ],
)
@pytest.mark.parametrize("pid", [7, 8])
def test_a_use_of_the_log_of_an_emulator_is_a_finding(call: str, touches: bool, pid: int) -> None:
    log = f"{pid} {call} = 9\n7 exit_group(0)\n".encode()
    seen = observe_program(record(trace="", emulator=log))
    touches &= pid == 7 or not call.startswith("close")
    assert codes(seen) == ({Code.LOG_TOUCHED} if touches else set())


def test_maps_that_were_cut_are_not_compared() -> None:
    trace = BEGIN + f"7 {MAP}\n" + ENDS
    cut = record(trace, maps={"end": "00400000-00401000 r--p 00000000 00:00 0 \n"})
    assert codes(observe_program(cut)) == {Code.MAPS_VS_TRACE}
    seen = observe_program(replace(cut, cut=("maps-end",)))
    assert seen.contradictions == ()
    assert seen.evidence["cut maps-end"] == "there was more than is kept"
