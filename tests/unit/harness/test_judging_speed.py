"""Judging takes time in proportion to the trace, and can be given up."""

from __future__ import annotations

import gc
from time import process_time

import pytest

from foothold_lab.harness.evidence import observe_program
from foothold_lab.harness.evidence.collector import paused_collector
from foothold_lab.harness.model.errors import InfrastructureError
from foothold_lab.harness.model.record import Ending, Record

PAGE = 4096
AT = 0x7F0000000000
BEGIN = '7 execve("/a", ["a"], 0x1) = 0\n7 execve("/b", ["b"], 0x1) = 0\n'
PAGES = 60_000  # Linux allows 65,530 mappings


def protects(count: int) -> Record:
    """A program that changes the protection of every second page, and then of all of them again."""
    size = PAGES * PAGE
    lines = [f"7 mmap(NULL, {size}, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = {AT:#x}\n"]
    for n in range(count):
        names = "PROT_READ" if 2 * n // PAGES % 2 else "PROT_READ|PROT_WRITE"
        lines.append(f"7 mprotect({AT + 2 * n % PAGES * PAGE:#x}, {PAGE}, {names}) = 0\n")
    shown = min(count, PAGES // 2)
    last = (count - 1) // (PAGES // 2)
    maps = []
    for n in range(PAGES):
        again = n // 2 < count - last * (PAGES // 2)
        letters = "rw-p" if (last if again else last - 1) % 2 == 0 else "r--p"
        start = AT + n * PAGE
        kind = letters if n % 2 == 0 and n // 2 < shown else "---p"
        maps.append(f"{start:x}-{start + PAGE:x} {kind} 00000000 00:00 0 \n")
    return record(lines, "".join(maps))


def refusals(count: int) -> Record:
    """A program that requests address after address, and is refused each of them."""
    mmap = "7 mmap({:#x}, 1125899906842624, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = -1 {}\n"
    error = "ENOMEM (Cannot allocate memory)"
    return record([mmap.format(0x100000000000 + n * PAGE, error) for n in range(count)])


def record(lines: list[str], maps: str = "") -> Record:
    trace = f"{BEGIN}{''.join(lines)}7 +++ exited with 0 +++\n".encode()
    return Record(
        argv=(),
        pid=7,
        ending=Ending(status=0),
        stdout=b"",
        stderr=b"",
        maps={"end": maps} if maps else {},
        trace=trace,
    )


@pytest.mark.parametrize("program", [protects, refusals])
def test_ten_times_the_calls_take_ten_times_as_long(program: type) -> None:
    """Quadratic time would be a hundred times as long: 30,000 refusals took 26 s."""
    taken = []
    for count in (6_000, 60_000):
        one = program(count)
        started = process_time()
        seen = observe_program(one)
        taken.append(process_time() - started)
        assert seen.contradictions == ()
    assert taken[1] < 40 * taken[0]


def test_judging_is_given_up_when_the_check_raises() -> None:
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 5:
            raise InfrastructureError("the run is being stopped")

    with pytest.raises(InfrastructureError):
        observe_program(refusals(30_000), check=check)
    assert len(calls) == 5
    assert gc.isenabled()


def test_the_collector_goes_on_when_the_last_pause_ends() -> None:
    with paused_collector():
        with paused_collector():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with paused_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
