"""What a worker can do, and the resources that tell Dask where a chunk may run.

A resource has the hash of our sources and the version of Python in its name. So a worker with another
Foothold, or another Python, gets no chunk of ours. `FOOTHOLD:processors` and `FOOTHOLD:memory` (in
MiB) are used up by the chunks that run; `FOOTHOLD:guest:NAME` only says that the guest is supported.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.guests.doctor import examine
from foothold_lab.harness.model import provenance
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.placement import NAME, PLACED, of_worker
from foothold_lab.harness.model.workers import WorkerFacts
from foothold_lab.harness.runner.host_memory import available_memory
from foothold_lab.images.builder import Builder

FACTS = "foothold"  # what a worker says of itself when it joins: WorkerFacts, as JSON
LABELS = "FOOTHOLD_LABELS"  # names of this machine, with commas between them
FETCH = "FOOTHOLD_FETCH_IMAGES"  # MiB of images that it takes at once
FETCH_DEFAULT = 1024  # a pack of all images of the plan nightly has about 600 MiB
_MANY = 1 << 20  # more chunks than a worker ever runs at once


def describe_machine(name: str, address: str, processors: int) -> WorkerFacts:
    """Return what this machine is and can do, as `foothold doctor` finds it. Takes about a second."""
    here = provenance.here()
    builder = Builder()
    checks = examine(builder)
    known = catalogue(builder)
    guests = [check.guest for check in checks if check.ok and check.guest in known]
    return WorkerFacts(
        name=name,
        host=socket.gethostname(),
        address=address,
        kernel=here.kernel,
        machine=platform.machine(),
        processor=_processor(),
        processors=processors,
        memory=available_memory(),
        foothold=here.version,
        code=here.code,
        python=here.python,
        guests=tuple(guests),
        unsupported={check.guest: check.reason for check in checks if not check.ok},
        labels=labels(os.environ.get(LABELS, "")),
    )


def labels(text: str) -> tuple[str, ...]:
    """Parse labels with commas between them. Raises UsageError."""
    found = tuple(filter(None, text.split(",")))
    for each in found:
        if not NAME.fullmatch(each):
            raise UsageError(
                f"{each[:80]!r} is not a label",
                "use up to 63 letters, digits, and . _ - after the first",
            )
    return found


def largest_pack(text: str) -> int:
    """Return the bytes of a setting in MiB of images to take at once. Raises UsageError."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UsageError(f"{FETCH}={text[:80]!r} is not a number", "write MiB; 0: take no images")
    return int(text) << 20


def resources_of(facts: WorkerFacts) -> dict[str, float]:
    """Return the resources of a worker."""
    names = {facts.name, facts.host, *facts.labels}
    placed = {of_worker(guest, name) for guest in PLACED for name in names}
    return {
        resource("processors"): facts.processors,
        resource("memory"): facts.memory,
        **{guest_resource(guest): _MANY for guest in (*facts.guests, *sorted(placed))},
    }


def resource(name: str) -> str:
    """Return the full name of a resource of ours."""
    code = provenance.here().code
    return f"foothold-{code}-py{sys.version_info.major}.{sys.version_info.minor}:{name}"


def guest_resource(guest: str) -> str:
    """Return the name of the resource that says that a guest is supported."""
    return resource(f"guest:{guest}")


class Processors:
    """The processors of a worker: each chunk that runs has one of its own."""

    def __init__(self, usable: Iterable[int]) -> None:
        self._free = list(usable)
        self._guard = threading.Lock()

    @contextmanager
    def take(self) -> Iterator[int]:
        """Yield a processor that no other chunk has, until the end of the context."""
        with self._guard:
            processor = self._free.pop(0)
        try:
            yield processor
        finally:
            with self._guard:
                self._free.append(processor)


def _processor() -> str:
    """Return the model of the processor, as proc(5) names it."""
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    found = re.search(r"^(?:model name|Model|cpu|uarch)\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()
