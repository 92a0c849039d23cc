"""Runs all probes of kernels many times in one guest, and lists those whose answers vary."""

from __future__ import annotations

import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

from foothold_lab.harness import subjects
from foothold_lab.harness.conformance import ProbeReport, read_report
from foothold_lab.harness.guests.base import run_program
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.runner import PROGRAM_MEMORY, BootedGuest, RunOptions, open_guest
from foothold_lab.harness.subjects.probes import GROUPS
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.builder import Builder
from foothold_lab.images.probes import IMAGE, PROGRAM

SECONDS = 120.0  # of one run in a guest of native speed


def main(guest: str, runs: int) -> int:
    """Return 1 if a probe varies, or a run did not answer all probes. Ctrl-C ends it early."""
    builder = Builder()
    subject = _all_probes(builder)
    results: dict[str, Counter[str]] = defaultdict(Counter)
    measured: dict[str, set[str]] = defaultdict(set)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder:
        options = RunOptions(
            directory=Path(folder),
            builder=builder,
            subjects={subject.name: subject},
            memory=PROGRAM_MEMORY,
            trace=False,
        )
        done = 0
        with open_guest(guest, options, lambda _: None) as booted, suppress(KeyboardInterrupt):
            while done < runs:
                for answer in _run(booted, guest, subject).answers:
                    results[answer.probe][answer.result] += 1
                    measured[answer.probe].add(answer.measured)
                done += 1
    vary = [probe for probe, counts in results.items() if max(counts.values()) < done]
    print(
        f"{guest}: {done} runs of {len(results)} probes in {time.monotonic() - started:.0f} s, "
        f"{len(vary)} vary"
    )
    for probe in vary:
        counts = ", ".join(f"{count} {result}" for result, count in results[probe].items())
        print(f"  {probe}: {counts}: {'; '.join(sorted(measured[probe])[:4])}")
    return 1 if vary else 0


def _all_probes(builder: Builder) -> Subject:
    image = str(builder.image(IMAGE))
    return Subject(
        name=PROGRAM,
        argv=(f"{image}/{PROGRAM}", *GROUPS),
        image=IMAGE,
        image_directory=image,
        timeout=SECONDS,
        ends=True,
        machine="x86_64",
    )


def _run(booted: BootedGuest, name: str, subject: Subject) -> ProbeReport:
    guest = booted.guest
    cell = Cell(guest=name, limits=Limits(), policy="", subject=subject.name)
    argv = subjects.command(subject, cell, guest.paths, trace=False)
    how = subjects.supervision(subject, guest.paths, guest.scale, trace=False)
    deadline = Deadline.after(2 * SECONDS * guest.scale)
    return read_report(run_program(guest, argv, Limits(), deadline, how=how).stdout)
