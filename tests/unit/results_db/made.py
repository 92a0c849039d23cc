"""Runs to ask about: written as a run writes them, by events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.provenance import Provenance
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.writer import Recorder
from tests.unit.harness import samples

HERE = Provenance(version="0.1.0", revision="abc", code="c0de", python="3.11.7", kernel="6.18")
IMAGES = {"uml-6.1": {"kernel": "kernel-1"}}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A run: what each cell comes to. A guest of which the facts are None does not boot."""

    name: str
    at: float
    verdicts: Mapping[Cell, Verdict]
    plan: str = "nightly"
    foothold: Provenance = HERE
    trace: bool = True
    subjects: Mapping[str, str] = field(default_factory=lambda: {"allocator": "s1"})
    images: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: IMAGES)
    packages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    facts: Mapping[str, Facts | None] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[Cell] = ()
    interrupted: bool = False
    command: tuple[str, ...] = ()
    directory: str = ""

    def write(self, database: Database) -> None:
        recorder = Recorder(database)
        for event in self.events():
            recorder(event)
        recorder.close()

    def events(self) -> list[events.AnyEvent]:
        cells = (*self.verdicts, *self.missing)
        told: list[events.AnyEvent] = [
            events.RunStarted(
                at=self.at,
                run=self.name,
                plan=self.plan,
                directory=self.directory or f"/runs/{self.name}",
                command=self.command or ("foothold", "run", self.plan),
                cells=cells,
                provenance=self.foothold,
                subjects=self.subjects,
                trace=self.trace,
            )
        ]
        for guest in dict.fromkeys(cell.guest for cell in cells):
            images = self.images.get(guest, {"image": f"{guest}-1"})
            told.append(
                events.GuestBooting(guest=guest, boot=guest, images=images, packages=self.packages)
            )
            facts = self.facts.get(guest, samples.facts())
            if facts:
                ready = samples.ready(guest)
                told.append(
                    msgspec.structs.replace(
                        ready,
                        boot=guest,
                        facts=facts,
                        provenance={**ready.provenance, **self.provenance},
                    )
                )
            else:
                told.append(
                    events.GuestFailed(
                        guest=guest,
                        boot=guest,
                        code=Code.GUEST_BOOT,
                        message="it hung",
                        remedy="",
                        blame="guest",
                        console="",
                        argv=("agent",),
                    )
                )
        told += [
            events.CellFinished(cell=cell.id, verdict=verdict, boot=cell.guest)
            for cell, verdict in self.verdicts.items()
        ]
        told.append(events.RunFinished(seconds=9.5, counts={}, interrupted=self.interrupted))
        return told


def cell(guest: str = "native", limits: str = "none", **more: object) -> Cell:
    return replace(
        Cell(
            guest=guest,
            limits=Limits.parse(limits),
            policy="after",
            expected=samples.HIGH_ALLOCATES,
        ),
        **more,  # type: ignore[arg-type]
    )


def passes(one: Cell, seconds: float = 0.25, **more: object) -> Verdict:
    seen = samples.observation(samples.HIGH_ALLOCATES)
    return samples.verdict(one, observed=seen, **{"seconds": seconds, **more})


def fails(one: Cell, finding: str = "the plan expects high", **more: object) -> Verdict:
    seen = samples.observation(samples.LOW_ALLOCATES)
    return samples.verdict(one, Result.FAIL, finding, **{"observed": seen, **more})


def breaks(one: Cell) -> Verdict:
    return samples.verdict(one, Result.ERROR, "the guest hung")


def unsupported(one: Cell) -> Verdict:
    return samples.verdict(one, Result.UNSUPPORTED, "no engine answers")


def second_try(one: Cell) -> Verdict:
    """It failed, was asked again, and passed."""
    return replace(passes(one), attempts=(fails(one).as_attempt(),))
