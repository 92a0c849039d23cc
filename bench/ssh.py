"""A cell on a machine that is reached by SSH, compared with the same cell on native.

`./foothold bench ssh ssh:USER@HOST:PORT`. For the cost of SSH alone, give this machine. A program that
ends at once shows that cost best.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.guests import Line, cell, medians, seconds, workplace
from foothold_lab.harness.guests.base import Guest, run_program
from foothold_lab.harness.guests.catalogue import catalogue, find_guest
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import Supervision
from foothold_lab.images.builder import Builder

ROUNDS = 21
GOAL = 1.5


@contextmanager
def booted(name: str, builder: Builder) -> Iterator[tuple[Guest, Facts]]:
    kind = find_guest(catalogue(builder), name)
    with workplace(builder, kind) as place:
        guest = kind.make(place)
        try:
            yield guest, guest.boot(Deadline.after(120))
        finally:
            guest.stop()


def allocator(guest: Guest, facts: Facts, *, trace: bool) -> float:
    question = Cell(guest=guest.name, limits=Limits(), policy="after")
    return seconds(lambda: cell(guest, facts, question, trace=trace))


def program(guest: Guest) -> float:
    """A program that ends at once, as a cell of it runs: traced, in a fresh directory."""
    how = Supervision(trace=True, exit_maps=True, fresh_directory=True)
    return seconds(lambda: run_program(guest, ["/bin/true"], Limits(), Deadline.after(60), how=how))


def lines(address: str, builder: Builder) -> Iterator[Line]:
    with booted(address, builder) as (there, facts), booted("native", builder) as (here, own):
        for what, ours, reference in (
            ("the allocator", lambda: allocator(there, facts, trace=False),
             lambda: allocator(here, own, trace=False)),
            ("the allocator, traced", lambda: allocator(there, facts, trace=True),
             lambda: allocator(here, own, trace=True)),
            ("/bin/true, traced", lambda: program(there), lambda: program(here)),
        ):  # fmt: skip
            mine, theirs = medians(ROUNDS, ours, reference)
            yield Line(name=f"ssh / native: {what}", ours=mine, reference=theirs, goal=GOAL)


def main(address: str) -> None:
    """Print the table."""
    for line in lines(address, Builder()):
        print(line, flush=True)
