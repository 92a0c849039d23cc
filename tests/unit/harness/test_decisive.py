"""The path of a program is where its decisive reservation went."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.evidence.decisive import decide
from foothold_lab.harness.evidence.program import observe_program
from foothold_lab.harness.evidence.strace import follow_subject, parse_trace
from foothold_lab.harness.model.ledger import replay
from tests.unit.harness.test_program import ENOMEM, record

LOGS = Path(__file__).parents[2] / "data" / "strace"
PRIVATE = "MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)"
RWX = f"PROT_READ|PROT_WRITE|PROT_EXEC, {PRIVATE}"
# the reservations of Go in February 2012, after the change
STRAY = f"7 mmap(0xf800000000, 65536, PROT_NONE, {PRIVATE}"
LOW = f"7 mmap(0x4c00000, 671088640, PROT_NONE, {PRIVATE}"
# and before it
PROBE = f"7 mmap(0xf840000000, 1048576, {RWX}"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("native-go", "high: 64M --- at 0xc000000000: honoured, 0xc000000000"),
        ("uml-6.12-go", "low: 128M --- at anywhere: placed, 0x84960000"),
        ("uml-6.12-haskell", "high: 55560M --- at 0x4200027000: moved, 0x64cfc00000"),
        ("uml-6.12-tsan", "refused: 1073741832K --- at exactly 0x720000000000: refused, ENOMEM"),
        ("uml-6.12-sbcl", "high: 1G rwx at 0x1000000000: honoured"),
        ("uml-6.1-before", "refused: 1M rwx at 0xf840000000: moved, 0x405f9000, unmapped"),
        ("uml-6.1-after", "low: 640M --- at 0x4c00000: honoured, 0x4c00000"),
        ("uml-7.2-exec", "refused: 1025M rw- at anywhere: refused, ENOMEM"),
    ],
)
def test_the_decisive_reservation_of_real_programs(log: str, told: str) -> None:
    text = (LOGS / f"{log}.log").read_bytes()
    subject = follow_subject(parse_trace(text), int(text.split()[0]))
    died = subject.ending != "exited with 0"
    decision = decide(subject, replay(subject.steps), died=died)
    assert str(decision).startswith(told)


@pytest.mark.parametrize(
    ("lines", "status", "told"),
    [
        # a probe that was moved and given back, natively under a ceiling of 39 bits
        (
            [f"{PROBE} = 0x7fbff00000", "7 munmap(0x7fbff00000, 1048576) = 0"],
            2,
            "refused: 1M rwx at 0xf840000000: moved, 0x7fbff00000, unmapped",
        ),
        # RLIMIT_AS of 300M: the stray 64K stay mapped, and are never used
        (
            [f"{STRAY} = 0x405d9000", f"{LOW} {ENOMEM}", f"{LOW.replace('4c', '5c')} {ENOMEM}"],
            2,
            "refused: 640M --- at 0x4c00000: refused, ENOMEM",
        ),
        ([f"{STRAY} = 0x405d9000", f"{LOW} = 0x4c00000"], 0, "low: 640M --- at 0x4c00000"),
        # it asks for less, and dies of something else
        (
            [
                f"7 mmap(NULL, 17179869184, PROT_NONE, {PRIVATE} {ENOMEM}",
                f"7 mmap(NULL, 8589934592, PROT_NONE, {PRIVATE} = 0x700000000000",
                "7 mprotect(0x700000000000, 4096, PROT_READ) = 0",
            ],
            1,
            "high: 8G --- at anywhere: placed, 0x700000000000",
        ),
        # it goes on without
        (
            [f"{LOW} {ENOMEM}", f"7 mmap(NULL, 671088640, PROT_READ, {PRIVATE} = 0x700000000000"],
            0,
            "high: 640M r-- at anywhere: placed, 0x700000000000",
        ),
        # what a thread mapped meanwhile does not replace what was refused
        (
            [
                "7 clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = 8",
                f"{LOW} {ENOMEM}",
                f"8 mmap(NULL, 134217728, PROT_READ, {PRIVATE} = 0x700000000000",
            ],
            1,
            "refused: 640M --- at 0x4c00000",
        ),
        # a buffer that was used and freed
        (
            [
                f"7 mmap(0x10000000, 67108864, PROT_READ, {PRIVATE} = 0x10000000",
                "7 munmap(0x10000000, 67108864) = 0",
            ],
            0,
            "low: 64M r-- at 0x10000000: honoured, 0x10000000, unmapped",
        ),
    ],
)
def test_which_reservation_decides(lines: list[str], status: int, told: str) -> None:
    seen = observe_program(record(*lines, status=status))
    assert seen.evidence["path"].startswith(told)
    assert seen.path == told.partition(":")[0]


def test_no_request_is_no_path() -> None:
    seen = observe_program(record("7 brk(NULL) = 0x5000"))
    assert seen.path is None
    assert "path" not in seen.evidence
