"""Frozen values that are read from the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import msgspec

from foothold_lab.harness.model.findings import Finding
from foothold_lab.harness.model.provenance import Provenance
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.results_db import process

T = TypeVar("T")
REPLAY = "replay"  # the command of a run that repeats the events of another one: (REPLAY, its name)


class State(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"  # by the user
    BROKEN = "broken"  # ended by an error of Foothold
    KILLED = "killed"  # its process is gone without a last event


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run. Times are in seconds, `started` since the epoch. `seconds` is None if it did not finish.

    `counts` has the number of cells by result, `not-run` without a verdict. `flaky` counts cells whose
    retry had another result. `subjects` has a hash of each subject.
    """

    id: int
    name: str
    plan: str
    command: tuple[str, ...]
    directory: str
    provenance: Provenance
    subjects: Mapping[str, str]
    traced: bool
    started: float
    seconds: float | None
    state: State
    counts: Mapping[str, int]
    flaky: int

    @classmethod
    def of(cls, row: sqlite3.Row, counts: Mapping[str, int], flaky: int) -> Run:
        """Make it from a row of `runs`."""
        state = State(row["state"])
        if state is State.RUNNING and not process.is_alive(row["process"]):
            state = State.KILLED
        names = Provenance.__dataclass_fields__
        origin = Provenance(**{name: row[name] for name in names})
        command = _json(row["command"], tuple[str, ...])
        return cls(
            id=row["id"],
            name=row["name"],
            plan=row["plan"],
            command=command,
            directory=row["directory"],
            provenance=origin,
            subjects=_json(row["subjects"], dict[str, str]),
            traced=bool(row["traced"]),
            started=row["started"],
            seconds=row["seconds"],
            state=state,
            counts=counts,
            flaky=flaky,
        )

    @property
    def replay_of(self) -> str:
        """The run whose events this one repeats, empty if it is a run of its own."""
        program, *words = self.command or ("",)
        return words[0] if program == REPLAY and words else ""


@dataclass(frozen=True, kw_only=True)
class StoredBoot:
    """A boot of a guest; facts None if it never answered, then `failure` says why, and
    `code` is that of the finding.

    `name` is that of its directory in the run. Facts are as JSON has them: an older Foothold may
    have measured other ones.
    """

    id: int
    name: str
    guest: str
    seconds: float | None
    images: Mapping[str, str]
    facts: Mapping[str, object] | None
    provenance: Mapping[str, str]
    notes: tuple[str, ...]
    argv: tuple[str, ...]
    failure: str
    code: str

    @classmethod
    def of(cls, row: sqlite3.Row) -> StoredBoot:
        """Make it from a row of `boots`."""
        facts = _json(row["facts"], dict[str, object]) if row["facts"] else None
        names = dict[str, str]
        return cls(
            id=row["id"],
            name=row["name"],
            guest=row["guest"],
            seconds=row["seconds"],
            images=_json(row["images"], names),
            facts=facts,
            provenance=_json(row["provenance"], names),
            notes=_json(row["notes"], tuple[str, ...]),
            argv=_json(row["argv"], tuple[str, ...]),
            failure=row["failure"],
            code=row["code"],
        )

    @property
    def release(self) -> str:
        """The release of the guest's kernel, empty if it never booted."""
        return str((self.facts or {}).get("release", ""))


@dataclass(frozen=True, kw_only=True)
class StoredThreshold:
    """The smallest limit of a `kind` under which a subject starts in a guest, found at a time.

    `edge`, `smallest` and `largest`, in bytes, are those of `threshold.bisection.Search`.
    """

    at: float
    guest: str
    subject: str
    policy: str
    kind: str
    edge: str
    smallest: int | None
    largest: int | None


@dataclass(frozen=True, kw_only=True)
class StoredCell:
    """A cell of a run, without the whole verdict. `result` is None without a verdict.

    `base_name` is the name without the number of the repeat, `boot` the id of its boot.
    """

    id: int
    name: str
    base_name: str
    guest: str
    limits: str
    subject: str
    policy: str
    result: Result | None = None
    path: str | None = None
    outcome: str | None = None
    status: int | None = None
    blame: str | None = None
    findings: tuple[Finding, ...] = ()
    seconds: float | None = None
    retries: int = 0
    flaky: bool = False
    boot: int | None = field(default=None, compare=False)

    @classmethod
    def of(cls, row: sqlite3.Row) -> StoredCell:
        """Make it from a row of `cells`."""
        result = Result(row["result"]) if row["result"] else None
        findings = _json(row["findings"], tuple[Finding, ...]) if row["findings"] != "[]" else ()
        return cls(
            id=row["id"],
            name=row["name"],
            base_name=row["base_name"],
            guest=row["guest"],
            limits=row["limits"],
            subject=row["subject"],
            policy=row["policy"],
            result=result,
            path=row["path"],
            outcome=row["outcome"],
            status=row["status"],
            blame=row["blame"],
            findings=findings,
            seconds=row["seconds"],
            retries=row["retries"],
            flaky=bool(row["flaky"]),
            boot=row["boot"],
        )

    @property
    def is_bad(self) -> bool:
        """Is the result a failure or an error?"""
        return self.result in (Result.FAIL, Result.ERROR)

    @property
    def summary(self) -> str:
        """The observation in a few words."""
        where = [each for each in (self.path, self.outcome) if each]
        if self.status:
            where.append(f"status {self.status}")
        return ", ".join(where) or (self.result or "not run")


def _json(text: str, kind: type[T]) -> T:
    return msgspec.json.decode(text, type=kind)
