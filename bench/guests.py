"""Timings of guests, compared with the lowest possible cost.

Bare boot: the same kernel, root and pinning, with a ctypes mmap of 64 KiB at 0xF8<<32 as the only
program, then power off. The difference is the cost of Foothold: SSH, the agent, the subject's own
work, two readings of its maps, the verdict.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from foothold_lab.harness import subjects
from foothold_lab.harness.evidence import judge, observe
from foothold_lab.harness.guests.base import Guest, GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import GuestType, catalogue
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.oracle import predict
from foothold_lab.harness.subjects import bytecode
from foothold_lab.images.builder import Builder

PROBE = (
    "c=__import__('ctypes');l=c.CDLL(None);l.mmap.restype=c.c_void_p;"
    "l.mmap(c.c_void_p(0xf8<<32),65536,0,0x22,-1,0);l.reboot(0x4321fedc)"
)
CPU = max(os.sched_getaffinity(0))


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row: medians in seconds, their ratio, and the goal for the ratio (or for the seconds)."""

    name: str
    ours: float
    reference: float | None
    goal: float

    @property
    def measure(self) -> float:
        return self.ours if self.reference is None else self.ours / self.reference

    def __str__(self) -> str:
        reference = "" if self.reference is None else f"{self.reference:8.3f}"
        unit = " s" if self.reference is None else "  "
        verdict = "met" if self.measure <= self.goal else "MISSED"
        return (
            f"{self.name:44} {self.ours:8.3f} {reference:8} "
            f"{self.measure:6.2f}{unit} {self.goal:6.2f}{unit} {verdict}"
        )


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def workplace(builder: Builder, kind: GuestType) -> Iterator[GuestConfig]:
    with tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder:
        share = Path(folder) / "share"
        share.mkdir()
        place = GuestConfig(directory=Path(folder), share=share, builder=builder, cpu=CPU)
        compiled = bytecode.for_guest(kind.port, builder)
        subjects.deploy(share, bytecode=compiled, sources=kind.capabilities.shares_live)
        yield place


def cell(guest: Guest, facts: Facts, question: Cell, *, trace: bool = False) -> None:
    """Run one cell as the runner does. It must pass."""
    argv = subjects.command(subjects.ALLOCATOR, question, guest.paths, trace=trace)
    how = subjects.supervision(subjects.ALLOCATOR, guest.paths, guest.scale, trace=trace)
    record = run_program(guest, argv, question.limits, Deadline.after(120), how=how)
    predicted = predict(facts, question.limits, question.policy)
    verdict = judge(question, predicted, observe(record, pointers=facts.pointer_size), seconds=0)
    assert verdict.result is Result.PASS, verdict.findings


def boot_with_one_cell(kind: GuestType, builder: Builder) -> float:
    """Return seconds from spawn to verdict."""
    with workplace(builder, kind) as place:
        guest = kind.make(place)
        guest.supported()  # what a run asks once, before anything is spawned
        try:
            return seconds(
                lambda: cell(
                    guest,
                    guest.boot(Deadline.after(120)),
                    Cell(guest=kind.name, limits=Limits(), policy="after"),
                )
            )
        finally:
            guest.stop()


def bare_boot(kind: GuestType, builder: Builder) -> float:
    """Return seconds from spawn to power off of the same command, with the probe as init."""
    with workplace(builder, kind) as place:
        guest = kind.make(place)
        try:
            guest.boot(Deadline.after(120))
            argv = list(guest.boot_record.argv)
        finally:
            guest.stop()
        options, words = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
        preloaded = [value for option, value in pairwise(options) if option == "--env"]
        words = [word for word in words if not word.startswith(("ssl0=", "foothold.", "uml_dir="))]
        words = ["init=/usr/bin/python3" if word == "init=/init" else word for word in words]
        words += [f"uml_dir={place.directory}/", "--", "-I", "-S", "-c", PROBE]
        directory = options[options.index("--chdir") + 1]
        return seconds(
            lambda: subprocess.run(
                ["taskset", "-c", str(CPU), "env", *preloaded, *words],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
                timeout=60,
            )
        )


def medians(times: int, *works: Callable[[], float]) -> list[float]:
    """Measure in turns, so that load affects all alike. The first round does not count."""
    rounds = [[work() for work in works] for _ in range(times + 1)][1:]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def uml_lines(builder: Builder, times: int) -> Iterator[Line]:
    for name, kind in catalogue(builder).items():
        if not name.startswith("uml"):
            continue
        ours, bare = medians(
            times,
            lambda kind=kind: boot_with_one_cell(kind, builder),  # type: ignore[misc]
            lambda kind=kind: bare_boot(kind, builder),  # type: ignore[misc]
        )
        yield Line(
            name=f"{name}: one cell, spawn to verdict / bare boot",
            ours=ours,
            reference=bare,
            goal=2.0,
        )


def cell_lines(builder: Builder, times: int) -> Iterator[Line]:
    for name, kind in catalogue(builder).items():
        if name in ("native", "docker"):
            continue
        with workplace(builder, kind) as place:
            guest = kind.make(place)
            try:
                facts = guest.boot(Deadline.after(120))
                question = Cell(guest=name, limits=Limits(), policy="after")
                by_hand = [
                    word
                    for word in subjects.command(
                        subjects.ALLOCATOR, question, guest.paths, trace=False
                    )
                    if word != "--hold"
                ]

                def by_hand_seconds(guest: Guest = guest, by_hand: list[str] = by_hand) -> float:
                    record = run_program(guest, by_hand, Limits(), Deadline.after(120))
                    assert record.ending.status == 0
                    return record.ending.wall

                def ours(guest: Guest = guest, facts: Facts = facts, q: Cell = question) -> float:
                    return seconds(lambda: cell(guest, facts, q))

                mine, theirs = medians(times, ours, by_hand_seconds)
            finally:
                guest.stop()
        yield Line(
            name=f"{name}: one more cell / the subject by hand",
            ours=mine,
            reference=theirs,
            goal=1.5,
        )


def facts_lines(builder: Builder, times: int) -> Iterator[Line]:
    for name, kind in catalogue(builder).items():
        if not name.startswith("uml"):
            continue
        with workplace(builder, kind) as place:
            guest = kind.make(place)
            try:
                guest.boot(Deadline.after(120))

                def once(guest: Guest = guest) -> float:
                    argv = [guest.paths.agent, "facts"]
                    return run_program(guest, argv, Limits(), Deadline.after(60)).ending.wall

                [took] = medians(times, once)
            finally:
                guest.stop()
        yield Line(name=f"{name}: the facts", ours=took, reference=None, goal=0.06)


def trace_lines(builder: Builder, times: int) -> Iterator[Line]:
    for name, kind in catalogue(builder).items():
        with workplace(builder, kind) as place:
            guest = kind.make(place)
            if not guest.supported().ok:
                continue
            try:
                facts = guest.boot(Deadline.after(120))
                question = Cell(guest=name, limits=Limits(), policy="after")

                def once(
                    trace: bool, guest: Guest = guest, facts: Facts = facts, q: Cell = question
                ) -> float:
                    return seconds(lambda: cell(guest, facts, q, trace=trace))

                traced, untraced = medians(
                    times,
                    lambda once=once: once(True),  # type: ignore[misc]
                    lambda once=once: once(False),  # type: ignore[misc]
                )
            finally:
                guest.stop()
        yield Line(
            name=f"{name}: a cell, traced / untraced", ours=traced, reference=untraced, goal=1.25
        )


def native_line(builder: Builder, times: int) -> Line:
    kind = catalogue(builder)["native"]
    with workplace(builder, kind) as place:
        guest = kind.make(place)
        facts = guest.boot(Deadline.after(60))
        root = Path(__file__).parents[1]
        argv = [sys.executable, "-m", "allocator", "--policy", "after"]
        mine, theirs = medians(
            times,
            lambda: seconds(
                lambda: cell(guest, facts, Cell(guest="native", limits=Limits(), policy="after"))
            ),
            lambda: seconds(
                lambda: subprocess.run(argv, cwd=root, stdout=subprocess.DEVNULL, check=True)
            ),
        )
    return Line(
        name="native: one cell / python3 -m allocator", ours=mine, reference=theirs, goal=2.0
    )


def main(times: int = 7) -> None:
    """Print the table."""
    builder = Builder()
    print(f"guests on processor {CPU}, medians of {times}, in turns; seconds")
    print(f"{'':44} {'ours':>8} {'ref.':>8} {'ratio':>8} {'goal':>8}")
    for line in uml_lines(builder, times):
        print(line, flush=True)
    for line in cell_lines(builder, times):
        print(line, flush=True)
    print(native_line(builder, times), flush=True)
    for line in facts_lines(builder, times):
        print(line, flush=True)
    for line in trace_lines(builder, times):
        print(line, flush=True)
