"""What coordinator and worker tell each other: frozen values, as MessagePack.

Dask runs a task with nothing but two numbers. All else goes through two queues of the scheduler: one
for the reports of all tasks of a run, and one for the orders to each task. Nothing of it is a pickle.

    worker                              coordinator
    Started                     ──►
                                ◄──     Order: cells, subjects, and the keys of files
    Lacks (images)              ──►
                                ◄──     Pack: the key of a file with them
    Needs (files it lacks)      ──►
                                ◄──     FilePart …
    Happened, EvidencePart …    ──►
    Found (a threshold)         ──►
    Ended                       ──►
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import msgspec

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import InfrastructureError
from foothold_lab.harness.model.events import AnyEvent
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.harness.threshold import Threshold, ThresholdQuery

PART = 1 << 20  # bytes of a file in one message


class Order(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The cells of a chunk and how they are run; no cells: do nothing.

    The paths in `subjects` are keys of files (luggage.py). `outputs` maps the files of expected outputs to
    such keys. With `measure` the guest is only booted, with `query` the threshold of each cell is searched
    for. The other fields are those of RunOptions and CellGroup.
    """

    cells: tuple[Cell, ...]
    subjects: tuple[Subject, ...] = ()
    outputs: dict[str, str] = {}
    measure: bool = False
    query: ThresholdQuery | None = None
    large: bool = False
    fresh: bool = False
    retries: int = 0
    trace: bool = True
    pull: bool = False
    locked: bool = False
    required: bool = False


class FilePart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A part of the file `key`; `last`: the file is complete."""

    key: str
    data: bytes
    last: bool


class Pack(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A pack of images: the key of its file, and its size in bytes.

    If the coordinator cannot make the pack, `key` is empty and `reason` names the cause.
    """

    key: str = ""
    size: int = 0
    reason: str = ""


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A worker begins with a task. `address` is that of the worker."""

    address: str


class Lacks(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Images that the worker does not have, by their names."""

    images: tuple[str, ...]


class Needs(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Files of the order that the worker does not have, by their keys."""

    keys: tuple[str, ...]


class Happened(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An event of the run. Its evidence came before it. Paths in it are relative to the run."""

    event: AnyEvent


class EvidencePart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Bytes to append to a file of the run directory."""

    name: str
    data: bytes
    mode: int


class EvidenceLink(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A symbolic link in the share of a guest."""

    name: str
    target: str


class Found(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The threshold of a cell. The verdict that there is one follows."""

    cell: str
    threshold: Threshold


class Alive(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker still works on its task."""


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The task has ended. `failure` says why it could not run all of its cells."""

    failure: str = ""


Report = Started | Lacks | Needs | Happened | EvidencePart | EvidenceLink | Found | Alive | Ended
Instruction = Order | FilePart | Pack


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """Reports of the task with the number `attempt`, in their order."""

    attempt: int
    reports: tuple[Report, ...]


def encode(message: Letter | Instruction) -> bytes:
    """Return a message as bytes."""
    return msgspec.msgpack.encode(message, enc_hook=str)


def decode(data: object, kind: Any) -> Any:
    """Return the message that bytes are. Raises InfrastructureError if they are none."""
    try:
        if not isinstance(data, bytes):
            raise TypeError("it is not bytes")
        return msgspec.msgpack.decode(data, type=kind, dec_hook=_as_path)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise InfrastructureError(
            f"a message of the cluster cannot be read: {error}",
            "start all workers with the same Foothold as this one",
            code=Code.INFRASTRUCTURE_WORKER,
        ) from error


def new_run() -> str:
    """Return a name for the queues of a run that others cannot guess."""
    return f"foothold-{secrets.token_hex(16)}"


def reports_of(run: str) -> str:
    """Return the name of the queue for the reports of a run."""
    return f"{run}-reports"


def orders_of(run: str, attempt: int) -> str:
    """Return the name of the queue for the orders to a task."""
    return f"{run}-{attempt}"


def _as_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"{kind} is not expected")
