"""Run directories to test with: written by the sink that writes real ones; recorded evidence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.events import AnyEvent, GuestFailed, GuestReady
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from tests.unit.harness import samples

UML = 0x7F80000000  # the task size of uml-6.12, where `low` was recorded
NATIVE, LOW, REFUSED, UNSUPPORTED, LOST, LATE = (
    samples.cell(),
    samples.cell("uml-6.12"),
    samples.cell("uml-6.12", "before"),
    samples.cell("docker"),
    samples.cell("qemu-x86_64"),
    Cell(guest="qemu-x86_64", limits=Limits.parse("rlimit_as=300M"), policy="after"),
)
CELLS = (NATIVE, LOW, REFUSED, UNSUPPORTED, LOST, LATE)


def ready(guest: str, task_size: int) -> GuestReady:
    return msgspec.structs.replace(samples.ready(guest), facts=samples.facts(task_size))


def events(low: Result = Result.PASS, *, finished: bool = True) -> list[AnyEvent]:
    """One cell of each kind; `low` is what the recorded low one came to."""
    findings = [] if low is Result.PASS else ["the plan expects high; observed: low"]
    happened: list[AnyEvent] = [
        samples.started(*CELLS),
        ready("native", 0x7FFFFFFFF000),
        ready("uml-6.12", UML),
        samples.done(NATIVE, observed=samples.observation(samples.HIGH_ALLOCATES),
                     predicted=samples.HIGH_ALLOCATES),
        samples.done(LOW, low, *findings, observed=samples.observation(samples.LOW_ALLOCATES)),
        samples.done(REFUSED, observed=samples.observation(samples.DIES)),
        samples.done(UNSUPPORTED, Result.UNSUPPORTED, "no engine answers", remedy="start one"),
        GuestFailed(guest="qemu-x86_64", code=Code.GUEST_BOOT, message="hung", remedy="wait",
                    blame="guest", console="last words", argv=("qemu", "-x")),
        samples.done(LOST, Result.ERROR, "the guest hung", console="last words"),
    ]  # fmt: skip
    return [*happened, samples.finished()] if finished else happened


def write(directory: Path, happened: Sequence[AnyEvent], *, evidence: bool = True) -> Path:
    """Write a run directory, with what was recorded of the high, the low and the refused cell."""
    sink = RunDirectoryReporter(directory)
    for event in happened:
        sink(event)
    sink.close()
    if evidence:
        for cell, recorded in ((NATIVE, "high"), (LOW, "low")):
            folder = directory / "cells" / cell.id
            shutil.copytree(samples.RECORDED / "traced" / recorded, folder, dirs_exist_ok=True)
            (folder / "ending.json").write_text(json.dumps({"status": 0, "wall": 0.25}))
        folder = directory / "cells" / REFUSED.id
        shutil.copy(samples.RECORDED / "refused.jsonl", folder / "stdout.jsonl")
    return directory


# everything that a page, a terminal or a parser might take for something else than text
NASTY = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'>&amp; {{7*7}}{% x %}"
    "\x1b[2J\r\x00\x9b\u202e\ufeff<!--]]>"
)


def hostile(directory: Path) -> Path:
    """A run in which everything that can come out of a guest is meant to be more than text."""
    bad = samples.cell("uml-6.12", "after")
    failed = samples.cell("docker", "after")
    seen = samples.observation(
        samples.LOW_ALLOCATES,
        message=NASTY,
        last_output=NASTY,
        evidence={NASTY: NASTY},
        contradictions=(samples.finding(NASTY, Code.REPORT_VS_MAPS),),
        signal=0,
        path=None,
    )
    happened: list[AnyEvent] = [
        samples.started(bad, failed),
        msgspec.structs.replace(
            ready("uml-6.12", UML), provenance={NASTY: NASTY}, notes=(NASTY,), argv=(NASTY,)
        ),
        samples.done(
            bad,
            Result.FAIL,
            NASTY,
            observed=seen,
            notes=(NASTY,),
            console=NASTY,
            remedy=NASTY,
            command=("foothold", NASTY),
            artefacts=NASTY,
        ),
        GuestFailed(
            guest="docker",
            code=Code.GUEST_FAILED,
            message=NASTY,
            remedy=NASTY,
            blame="guest",
            console=NASTY,
            argv=(NASTY,),
        ),
        samples.done(failed, Result.ERROR, NASTY, console=NASTY),
        samples.finished(),
    ]
    write(directory, happened, evidence=False)
    folder = directory / "cells" / bad.id
    shutil.copytree(samples.RECORDED / "traced/low", folder, dirs_exist_ok=True)
    raw = b"\xff\xfe\xc3(" + NASTY.encode()
    for name in ("stdout.jsonl", "stderr", "ending.json", "maps-reserved"):
        (folder / name).write_bytes(raw)
    with (folder / "strace").open("ab") as file:
        file.write(raw + b"\n")
    maps = (folder / "maps-end").read_bytes()
    line = b"50000000-50001000 r-xp 00000000 00:11 7 /tmp/" + NASTY.replace("\r", "").encode()
    at = maps.index(b"7f7ff")
    (folder / "maps-end").write_bytes(maps[:at] + line + b"\n" + maps[at:])
    console = directory / "guests/uml-6.12/console.log"
    console.parent.mkdir(parents=True, exist_ok=True)
    console.write_bytes(raw)
    return directory


def large(directory: Path, count: int = 432) -> Path:
    """As many cells as the plan `limits` has, of six guests."""
    guests = ("native", "docker", "uml-6.1", "uml-6.12", "uml-7.2", "qemu-x86_64")
    cells = [
        samples.cell(guests[n % 6], ("before", "after")[n // 6 % 2], (n // 12 + 1) << 20)
        for n in range(count)
    ]
    happened = [samples.started(*cells), *(ready(guest, UML) for guest in guests)]
    happened += [
        samples.done(cell, observed=samples.observation(samples.LOW_ALLOCATES)) for cell in cells
    ]
    return write(directory, [*happened, samples.finished()], evidence=False)
