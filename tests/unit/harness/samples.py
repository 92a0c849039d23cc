"""Values to test with: facts as they were measured, records as they were kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from foothold_lab.harness.evidence.arena_detection import POLICIES
from foothold_lab.harness.guests.architectures import ARCHITECTURES, EMULATIONS
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.events import CellFinished, GuestReady, RunFinished, RunStarted
from foothold_lab.harness.model.facts import Cgroup, Facts, Hint, Tools
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import (
    Expectation,
    Observation,
    Outcome,
    ReservationPath,
    Result,
    Verdict,
)
from foothold_lab.harness.plan import Vocabulary

RECORDED = Path(__file__).parent / "recorded"
HIGH = 0xF8 << 32

KNOWN = Vocabulary(
    {
        "native": "native",
        "uml-bookworm": "uml-6.1",
        "uml-6.1": "uml-6.1",
        "uml-trixie": "uml-6.12",
        "uml-6.12": "uml-6.12",
        "uml-testing": "uml-7.2",
        "uml-7.2": "uml-7.2",
        "uml-bullseye": "uml-5.10",
        "uml-5.10": "uml-5.10",
        "uml-testing-ptrace": "uml-7.2-ptrace",
        "uml-7.2-ptrace": "uml-7.2-ptrace",
        "docker": "docker",
        **{each: each for each in ("gvisor", "gvisor-ptrace", "bubblewrap", "nspawn")},
        "qemu-x86_64-bullseye": "qemu-x86_64-5.10",
        "qemu-x86_64-testing": "qemu-x86_64-7.2",
        **{each: each for each in ("qemu-x86_64-5.10", "qemu-x86_64-7.2")},
        **{f"qemu-{this.name}": f"qemu-{this.name}" for this in ARCHITECTURES},
        **{f"qemu-user-{this.name}": f"qemu-user-{this.name}" for this in EMULATIONS},
    },
    POLICIES,
)

OUT_OF_MEMORY = "throw: runtime: out of memory"
CANNOT_RESERVE = "throw: runtime: cannot reserve arena virtual address space"
HIGH_ALLOCATES = Expectation(path=ReservationPath.HIGH, outcome=Outcome.ALLOCATES)
LOW_ALLOCATES = Expectation(path=ReservationPath.LOW, outcome=Outcome.ALLOCATES)
DIES = Expectation(
    path=ReservationPath.REFUSED, outcome=Outcome.DIES, status=2, message=OUT_OF_MEMORY
)


def facts(
    task_size: int = 0x7FFFFFFFF000,
    *,
    high: int | None = None,
    low: int = 0x10000000,
    pointer_size: int = 8,
    rlimit_as: int = -1,
) -> Facts:
    """An address space; `high` and `low` are what the hints gave, as asked if they fit."""
    if high is None:
        high = HIGH if task_size > HIGH else 0x40000000
    return Facts(
        schema=2,
        machine="x86_64",
        release="6.12.113",
        pointer_size=pointer_size,
        page_size=4096,
        task_size=task_size,
        lowest=0x10000,
        placement="bottom-up",
        first=0x40000000,
        hint_high=Hint(HIGH, high, 0),
        hint_low=Hint(0x10000000, low, 0),
        hint_beyond=Hint(task_size, 0x40000000, 0),
        aslr=2,
        aslr_bits=0,
        rlimit_as=rlimit_as,
        rlimit_data=-1,
        rlimit_stack=8 << 20,
        rlimit_memlock=8 << 20,
        overcommit=0,
        commit_limit=62 << 20,
        committed=6 << 20,
        memory=122 << 20,
        max_map_count=65530,
        cgroup=Cgroup(2),
        tools=Tools(),
    )


def recorded(path: str, *, without: str = "", replace: tuple[str, str] = ("", "")) -> Record:
    """A record of the real subject: `high`, `low` or `refused`.

    `without` leaves one line of the report out, `replace` changes its text.
    """
    report = (RECORDED / f"{path}.jsonl").read_text()
    pid = json.loads(report.splitlines()[0])["pid"]
    if without:
        lines = report.splitlines(keepends=True)
        report = "".join(line for line in lines if without not in line)
    report = report.replace(*replace) if replace[0] else report
    if path == "refused":
        return Record(
            argv=(),
            pid=pid,
            ending=Ending(status=2),
            stdout=report.encode(),
            stderr=f"{OUT_OF_MEMORY}\n".encode(),
        )
    maps = {
        "reserved": (RECORDED / f"{path}-reserved.maps").read_text(),
        "end": (RECORDED / f"{path}.maps").read_text(),
    }
    return Record(
        argv=(), pid=pid, ending=Ending(status=0), stdout=report.encode(), stderr=b"", maps=maps
    )


def observation(expected: Expectation, **changes: object) -> Observation:
    """Exactly what was expected."""
    values: dict[str, object] = {
        "path": expected.path, "outcome": expected.outcome, "status": expected.status,
        "signal": 0, "message": expected.message, "evidence": {"report": "says so"},
    }  # fmt: skip
    return Observation(**(values | changes))  # type: ignore[arg-type]


def cell(guest: str = "native", policy: str = "after", rlimit: int | None = None) -> Cell:
    return Cell(
        guest=guest, limits=Limits(rlimit_as=rlimit), policy=policy, expected=HIGH_ALLOCATES
    )


def codes(findings: Iterable[Finding]) -> list[Code]:
    """What the findings are, in their order: their texts may change."""
    return [each.code for each in findings]


def says(findings: Iterable[Finding], code: Code, *values: str) -> bool:
    """Is there a finding with this code whose text has all of these values?"""
    return any(each.code is code and all(v in each.text for v in values) for each in findings)


def finding(text: str, code: Code = Code.PLAN_EXPECTATION) -> Finding:
    return Finding(code, text)


_CODES = {
    Result.PASS: Code.PLAN_EXPECTATION,
    Result.FAIL: Code.PLAN_EXPECTATION,
    Result.ERROR: Code.GUEST_BOOT,
    Result.UNSUPPORTED: Code.UNSUPPORTED_GUEST,
}


def verdict(one: Cell, result: Result = Result.PASS, *findings: str, **more: object) -> Verdict:
    values: dict[str, object] = {
        "cell": one.id, "result": result, "seconds": 0.25, "expected": one.expected,
        "findings": tuple(finding(each, _CODES[result]) for each in findings), "command": one.command,
    }  # fmt: skip
    return Verdict(**(values | more))  # type: ignore[arg-type]


def started(*cells: Cell) -> RunStarted:
    return RunStarted(
        at=1_700_000_000.0,
        run="r",
        plan="default",
        directory="/runs/r",
        command=("foothold", "run"),
        cells=cells,
    )


def ready(guest: str = "native", *notes: str) -> GuestReady:
    return GuestReady(
        guest=guest,
        seconds=0.5,
        argv=("agent", "keep"),
        facts=facts(),
        provenance={"kernel": "6.12"},
        notes=notes,
    )


def done(one: Cell, result: Result = Result.PASS, *findings: str, **more: object) -> CellFinished:
    return CellFinished(cell=one.id, verdict=verdict(one, result, *findings, **more))


def finished(interrupted: bool = False, **counts: int) -> RunFinished:
    return RunFinished(seconds=1.5, counts=counts, interrupted=interrupted)
