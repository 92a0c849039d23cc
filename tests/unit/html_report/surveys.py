"""A survey to look at: two runtimes, natively under two limits, and on another machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.events import CellFinished, GuestReady, RunStarted
from foothold_lab.harness.model.verdict import (
    Observation,
    Outcome,
    ReservationPath,
    Result,
    Verdict,
)
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.survey import FILE, SubjectInfo, SurveyData, markdown, read
from tests.unit.harness import samples

TITLES = {
    "go-hello": SubjectInfo("Go", "1.24.4"),
    "node-24": SubjectInfo("Node.js 24", "24.19.0"),
    "go-hello-arm64": SubjectInfo("Go", "1.24.4"),
}
RECORDED = Path(__file__).parents[2] / "data" / "strace"
REFUSED = "mprotect(0x7f0000000000, 4096, PROT_READ|PROT_EXEC) = -1 EACCES (Permission denied)"
_CELLS = (
    ("native", "none", "go-hello", "native-go"),
    ("native", "none", "node-24", ""),
    ("native", "wx=refused", "go-hello", "native-go"),
    ("native", "wx=refused", "node-24", ""),
    ("native", "rlimit_as=1G", "go-hello", "uml-6.12-go"),
    ("native", "rlimit_as=1G", "node-24", ""),
    ("qemu-arm64-16k", "none", "go-hello-arm64", "native-go"),
)


def write(
    directory: Path,
    *,
    guests: tuple[str, ...] = ("native", "qemu-arm64-16k"),
    outcome: Outcome = Outcome.DIES,
) -> Path:
    """Write a run directory. `outcome` is that of node-24 under a limit."""
    directory.mkdir(parents=True, exist_ok=True)
    chosen = [each for each in _CELLS if each[0] in guests]
    cells = [
        Cell(
            guest=guest,
            limits=Limits.parse(limits),
            policy="",
            subject=subject,
            asked=("--subject", subject),
        )
        for guest, limits, subject, _ in chosen
    ]
    sink = RunDirectoryReporter(directory)
    sink(
        RunStarted(
            at=1_800_000_000.0, run="r", plan="runtimes", directory=str(directory), command=(),
            cells=tuple(cells),
        )
    )  # fmt: skip
    for guest in guests:
        facts = samples.facts(0x7FFFFFFFF000)
        if guest != "native":
            facts = dataclasses.replace(facts, machine="aarch64", page_size=16384)
        sink(GuestReady(**{**msgspec.structs.asdict(samples.ready(guest)), "facts": facts}))
    for cell, (_, limits, subject, log) in zip(cells, chosen, strict=True):
        dies = subject == "node-24" and limits != "none" and outcome is Outcome.DIES
        observed = Observation(
            path=ReservationPath.LOW,
            outcome=Outcome.DIES if dies else Outcome.STARTS,
            status=1 if dies else 0,
            signal=0,
            message="no code" if dies else "",
            last_output="no code" if dies else "",
            evidence={"refused": REFUSED} if dies else {},
        )
        verdict = Verdict(cell=cell.id, result=Result.PASS, seconds=1, observed=observed)
        sink(CellFinished(cell=cell.id, verdict=verdict))
        place = directory / "cells" / cell.id
        if log:
            (place / "strace").write_bytes((RECORDED / f"{log}.log").read_bytes())
        (place / "stderr").write_text("no code\n" if dies else "")
    sink.close()
    (directory / FILE).write_bytes(msgspec.json.encode(SurveyData(subjects=TITLES)))
    return directory


def markdown_of(directory: Path) -> str:
    """Return the page of a run directory as Markdown."""
    return markdown(read(directory))
