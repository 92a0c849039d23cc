"""The start-up of the real 2012 runtime, call by call, on real kernels.

What the kernel chose is left open (K); the image's end is given above Python's own heap, so that
the low arena lies where it is asked for: 0x10000000 higher than in the recorded traces, and below
0x40000000, where UML puts libraries.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foothold_lab.allocator.trace import Call
from foothold_lab.harness.api.guest import open_guest
from foothold_lab.harness.guests.base import GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import known_guests, make
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.record import Record
from foothold_lab.harness.subjects import supervision
from foothold_lab.harness.subjects.subject import ALLOCATOR, FILE
from foothold_lab.images.builder import Builder
from tests.go_trace import CASES, expected, from_strace, symbolic
from tests.guests.conftest import BootGuest

GOLDEN = json.loads((Path(__file__).parents[1] / "data/golden/startup.json").read_text())
SHIFT = 0x10000000
END = 0x2443A68 + SHIFT
LOW_ADDRESSES = range(0x1000000, 0x40000000)
HIGH_ADDRESSES = range(0xF800000000, 0xFC40000000)
# guest -> (limit, policy) -> the recorded case; no other recorded kernel is the same as one of ours
THREE_LEVELS = {
    ("none", "after"): "after, UML 6.1",
    ("none", "before"): "before, UML 6.1",
    ("rlimit_as=300M", "after"): "after, UML 6.1, 300 MiB",
    ("rlimit_as=300M", "before"): "before, UML 6.1",
    ("rlimit_as=800M", "after"): "after, UML 6.1",
    ("rlimit_as=2G", "after"): "after, UML 6.1",
}
FOUR_LEVELS = {
    ("none", "after"): "after, native",
    ("none", "before"): "before, native",
    ("rlimit_as=300M", "after"): "after, native, 300 MiB",
    ("rlimit_as=2G", "before"): "before, native",
}
GUESTS = {
    "native": FOUR_LEVELS,
    "qemu-x86_64": FOUR_LEVELS,
    "uml-testing": FOUR_LEVELS,
    "uml-bookworm": THREE_LEVELS,
    "uml-trixie": THREE_LEVELS,
}


def recorded(name: str) -> dict[str, Any]:
    [case] = [case for case in GOLDEN["cases"] if case["name"] == name]
    calls = [each for line in case["calls"] for each in GOLDEN.get(line, [line])]
    return {**case, "calls": calls}


def comparable(line: str, shift: int) -> str:
    """Shift the addresses in the low arena, and accept any address that the kernel chose."""

    def address(match: re.Match[str]) -> str:
        value = int(match[0], 16)
        if value in LOW_ADDRESSES:
            return hex(value + shift)
        return match[0] if value in HIGH_ADDRESSES else "K"

    return re.sub(r"0x[0-9a-f]+", address, line).replace("= *", "= K")


def calls_of(record: Record) -> list[str]:
    events = [json.loads(line) for line in record.stdout.splitlines()]
    return [
        comparable(str(Call(name=e["name"], args=tuple(e["args"]), result=e["result"])), 0)
        for e in events
        if e["event"] == "call"
    ]


@pytest.mark.parametrize("name", GUESTS)
def test_every_call_matches_the_recorded_trace(
    name: str, place: GuestConfig, boot: BootGuest, builder: Builder
) -> None:
    guest = make(builder, known_guests(builder)[name], place)
    boot(guest)
    for (limit, policy), case_name in GUESTS[name].items():
        case = recorded(case_name)
        argv = [guest.paths.python, "-I", "-S", f"{guest.paths.share}/{FILE}", "--policy", policy,
                "--workload", "hello", "--trace", "--end", hex(END)]  # fmt: skip
        record = run_program(guest, argv, Limits.parse(limit), Deadline.after(120))
        wanted = [comparable(line, SHIFT) for line in case["calls"]]
        assert calls_of(record) == wanted, (limit, policy)
        assert record.ending.status == case["status"]
        assert record.stderr.decode() == case["stderr"]
        last = json.loads(record.stdout.splitlines()[-1])
        if case["status"] == 0:
            assert (last["path"], last["stats"]["sys"]) == (case["path"], 5110008)
            assert last["stats"]["heap_sys"] == 2097152
        else:
            assert last["event"] == "throw"


@pytest.mark.parametrize(
    ("name", "limit", "case"),
    [
        ("native", "none", "native"),
        ("native", "ceiling=39bit", "native, 39 bits"),
        ("uml-bookworm", "none", "UML 6.1"),
    ],
)
def test_the_packaged_go_still_starts_as_recorded(
    name: str, limit: str, case: str, place: GuestConfig, boot: BootGuest, builder: Builder
) -> None:
    """tests/unit/allocator/test_go_1_24.py compares the allocator with the same records."""
    image = builder.image("go")
    guest = make(builder, known_guests(builder)[name], replace(place, images=("go",)))
    boot(guest)
    how = supervision(ALLOCATOR, guest.paths, guest.scale, trace=True)
    argv = [str(image / "hello")]
    record = run_program(guest, argv, Limits.parse(limit), Deadline.after(120), how=how)
    assert record.trace is not None
    calls = symbolic(from_strace(record.trace.decode()))
    assert comparable_hole(calls) == comparable_hole(expected(CASES[case]))


def comparable_hole(calls: list[str]) -> list[str]:
    """Leave open where in the space of two arenas the aligned one lies, which the kernel decides."""
    return [re.sub(r"(H\+)0x[0-9a-f]+|(munmap\(H.*, )\d+", r"\1\2*", line) for line in calls]


@pytest.mark.parametrize("limits", ["none", "ceiling=39bit"], ids=["strace", "agent"])
def test_both_tracers_show_mincore(limits: str, tmp_path: Path) -> None:
    """The allocator asks with mincore(2) whether an address is free."""
    script = "import ctypes; ctypes.CDLL(None).mincore(ctypes.c_void_p(1 << 30), 1 << 20, None)"
    with open_guest("native", directory=tmp_path) as guest:
        verdict = guest.run_cell("/usr/bin/python3", "-c", script, limits=limits, expect="starts")
    assert verdict.passed, str(verdict)
    [trace] = tmp_path.rglob("strace")
    assert "mincore(0x40000000, 1048576, NULL) = -1 ENOMEM" in trace.read_text()
