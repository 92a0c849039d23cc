"""A chunk that is with the cluster. What its worker says is checked, and gets the names of the run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from distributed import Future, Queue

from foothold_lab.harness.cluster.cutting import Chunk
from foothold_lab.harness.cluster.evidence import Inbox
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.events import (
    CellRetried,
    GuestBooting,
    GuestFailed,
    GuestReady,
    GuestStopped,
)
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.verdict import Attempt, Result, Verdict
from foothold_lab.harness.run_directory import check_name

REMEDY = "see the log of that worker, start it again, and repeat the cell"


@dataclass(kw_only=True, eq=False)
class Task:
    """A chunk that is with the cluster. Its methods raise ValueError for what its worker cannot mean.

    `directory` is that of the run, `able` are the addresses of the workers that may run it. `address`
    and `name` are those of the worker that runs it, empty until one begins. `left` are the cells without a verdict, `running` is the one that runs, `moved` are those that
    another worker has to try. `given_up`: its worker could not run it, and said so. `booted` are the
    guests that live, by boot. `heard` is when its worker wrote, `homeless` since when no worker can run it.
    """

    number: int
    chunk: Chunk
    directory: Path
    orders: Queue
    inbox: Inbox
    left: dict[str, Cell]
    able: frozenset[str] = frozenset()
    future: Future | None = None
    address: str = ""
    name: str = ""
    running: str = ""
    given_up: bool = False
    moved: list[Cell] = field(default_factory=list)
    booted: dict[str, str] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    homeless: float | None = None

    @property
    def guest(self) -> str:
        """The name of its guest."""
        return self.chunk.group.kind.name

    def of_guest(
        self, event: GuestBooting | GuestReady | GuestFailed | GuestStopped
    ) -> GuestBooting | GuestReady | GuestFailed | GuestStopped:
        """Return an event of its guest as one of the run, and note whether the guest lives."""
        if event.guest != self.guest:
            raise ValueError(f"{event.guest[:200]!r} is not the guest of the task")
        boot = self.boot(event.boot)
        if isinstance(event, GuestBooting):
            self.booted[boot] = self.guest
        elif not isinstance(event, GuestReady):
            self.booted.pop(boot, None)
        return msgspec.structs.replace(event, boot=boot, at=0.0)

    def retried(self, event: CellRetried) -> CellRetried:
        """Return an event of one of its cells as one of the run."""
        self.check_cell(event.cell)
        return CellRetried(
            cell=event.cell, attempt=self._placed(event.attempt), boot=self.boot(event.boot)
        )

    def check_cell(self, name: str) -> Cell:
        """Return the cell with this name, which has no verdict yet."""
        if name not in self.left:
            raise ValueError(
                f"{name[:200]!r} is not a cell of this task, or it has a verdict already"
            )
        return self.left[name]

    def finish(self, verdict: Verdict) -> tuple[Cell, Verdict]:
        """Take the verdict on one of its cells; return both, as the run has them."""
        cell = self.check_cell(verdict.cell)
        del self.left[verdict.cell]
        self.running = ""
        return cell, replace(
            verdict,
            expected=cell.expected,
            command=cell.command,
            worker=self.name,
            artefacts=self._place(verdict.artefacts),
            attempts=tuple(map(self._placed, verdict.attempts)),
        )

    def blamed(self) -> list[str]:
        """Return the cells that may have cost the worker: the one that ran, or all if none had begun.
        None, if the worker itself has given up before it began.
        """
        if not self.address or (self.given_up and not self.running):
            return []
        return [self.running] if self.running else list(self.left)

    def lost(self, reason: str) -> Attempt:
        """Return the attempt at a cell with which its worker was lost."""
        text = f"the worker {self.name} was lost while the cell ran: {reason}"
        return Attempt(
            result=Result.ERROR,
            seconds=time.monotonic() - self.since,
            findings=(Finding(Code.INFRASTRUCTURE_WORKER, text),),
            blame=Blame.INFRASTRUCTURE,
            worker=self.name,
        )

    def guest_lost(self, boot: str, reason: str) -> GuestFailed:
        """Return the event that a guest of it is lost with its worker."""
        return GuestFailed(
            guest=self.guest,
            code=Code.INFRASTRUCTURE_WORKER,
            message=f"the worker {self.name} was lost: {reason}",
            remedy=REMEDY,
            blame=Blame.INFRASTRUCTURE,
            console="",
            argv=(),
            boot=boot,
        )

    def without_answer(self, cell: Cell, finding: Finding) -> Verdict:
        """Return the verdict on a cell that no worker has brought to one."""
        return Verdict(
            cell=cell.id,
            result=Result.ERROR,
            seconds=0.0,
            expected=cell.expected,
            findings=(finding,),
            blame=Blame.INFRASTRUCTURE,
            remedy=REMEDY,
            command=cell.command,
            worker=self.name,
        )

    def boot(self, name: str) -> str:
        """Return the name of one of its boots in the run; empty for none."""
        if not name:
            return ""
        check_name(name)
        if "/" in name:
            raise ValueError(f"{name[:200]!r} is not the name of a boot")
        return f"{name}{self.inbox.suffix}"

    def _placed(self, attempt: Attempt) -> Attempt:
        return replace(attempt, worker=self.name, artefacts=self._place(attempt.artefacts))

    def _place(self, path: str) -> str:
        """Return where evidence of one of its cells lies in the run."""
        if not path:
            return ""
        check_name(path)
        if not any(f"{path}/".startswith(f"cells/{name}/") for name in self.inbox.cells):
            raise ValueError(f"{path[:200]!r} is not evidence of the task")
        return str(self.directory / path)
