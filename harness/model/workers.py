"""What a worker of a cluster is: a machine, its kernel, and what it can boot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class WorkerFacts:
    """A worker, as it describes itself.

    `host` is the name of its machine, `address` where Dask reaches it, `processor` the model, `memory`
    what guests may use, in MiB. `code` is the hash of the sources of its Foothold. `unsupported` maps
    the guests and the parts of the host that `foothold doctor` objects to, to the reason. `labels` are
    names that its user gave it.
    """

    name: str
    host: str
    address: str
    kernel: str
    machine: str
    processor: str
    processors: int
    memory: int
    foothold: str
    code: str
    python: str
    guests: tuple[str, ...] = ()
    unsupported: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
