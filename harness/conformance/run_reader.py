"""Reads what the probes of a run measured, from its run directory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.conformance.differences import Kernel, kernel_of
from foothold_lab.harness.conformance.report import ProbeAnswer, read_report
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import GuestReady, RunStarted
from foothold_lab.harness.model.probes import differing_probes
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.run_directory import RunFiles, decode, read_events

_MOST = 1 << 20  # bytes of the report of a cell


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a probe that differs measured in a guest, the first cell that shows it, and how often."""

    text: str
    cell: str
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class ConformanceRun:
    """A run of probes.

    kernels: those of its guests, in the order of the plan.
    answers: by probe, the last answers by guest.
    asked: by probe, how often it was asked by guest: a plan may repeat its cells.
    differing: by probe, what was measured by guest, if it differs there.
    """

    kernels: Mapping[str, Kernel]
    answers: Mapping[str, Mapping[str, ProbeAnswer]]
    asked: Mapping[str, Mapping[str, int]]
    differing: Mapping[str, Mapping[str, Measurement]]


def read_run(directory: Path) -> ConformanceRun:
    """Read a run of the plan conformance. Raises UsageError if the directory holds no such run."""
    events = list(read_events(directory))
    started = next(each for each in events if isinstance(each, RunStarted))
    ready = {each.guest: each for each in events if isinstance(each, GuestReady)}
    answers: dict[str, dict[str, ProbeAnswer]] = {}
    asked: dict[str, Counter[str]] = defaultdict(Counter)
    differing: dict[str, dict[str, Measurement]] = {}
    for cell in started.cells:
        files = RunFiles(directory).beneath(f"cells/{cell.id}")
        if not (verdict := _verdict(files)):
            continue
        found = {each.probe: each for each in read_report(files.read("stdout", _MOST)).answers}
        for probe, answer in found.items():
            answers.setdefault(probe, {})[cell.guest] = answer
        evidence = verdict.observed.evidence if verdict.observed else {}
        differ = differing_probes(evidence)
        for probe, text in differ.items():
            first = differing.setdefault(probe, {}).get(cell.guest)
            times = first.times + 1 if first else 1
            where = first.cell if first else cell.id
            differing[probe][cell.guest] = Measurement(text=text, cell=where, times=times)
        for probe in {*found, *differ}:  # one that has killed its guest has no answer
            asked[probe][cell.guest] += 1
    if not answers:
        raise UsageError(
            f"{directory} holds no run of probes", "give a run of the plan conformance"
        )
    order = dict.fromkeys(cell.guest for cell in started.cells if cell.guest in ready)
    kernels = {guest: _kernel(ready[guest]) for guest in order}
    return ConformanceRun(kernels=kernels, answers=answers, asked=asked, differing=differing)


def _kernel(event: GuestReady) -> Kernel:
    return kernel_of(event.guest, event.facts.release, event.argv)


def _verdict(files: RunFiles) -> Verdict | None:
    """Return the verdict of a cell; None if it did not run."""
    try:
        data = files.read("verdict.json")
        files.read("stdout", _MOST)
    except OSError:
        return None
    found: Verdict = decode(data, Verdict, f"{files.directory}/{files.folder}/verdict.json")
    return found
