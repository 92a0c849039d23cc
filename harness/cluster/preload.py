"""Makes a worker of Dask one of Foothold: `dask worker ADDRESS --preload foothold_lab.harness.cluster.preload`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from foothold_lab.harness.cluster import work
from foothold_lab.harness.cluster.machine import (
    FACTS,
    FETCH,
    FETCH_DEFAULT,
    Processors,
    describe_machine,
    largest_pack,
    resources_of,
)

if TYPE_CHECKING:
    from distributed import Worker


async def dask_setup(worker: Worker) -> None:
    """Examine this machine, and offer what it can do. Dask calls it before the worker joins."""
    most = largest_pack(os.environ.get(FETCH, str(FETCH_DEFAULT)))
    threads = worker.state.nthreads
    facts = await asyncio.to_thread(describe_machine, str(worker.name), worker.address, threads)
    told = msgspec.json.encode(facts).decode()
    worker.startup_information[FACTS] = lambda _: told
    offered = resources_of(facts)
    worker.state.total_resources.update(offered)
    worker.state.available_resources.update(offered)
    depot = Path(worker.local_directory, "foothold")
    depot.mkdir(mode=0o700, exist_ok=True)
    processors = Processors(_usable_processors(worker, threads))
    place = work.Place(facts=facts, processors=processors, depot=depot, largest_pack=most)
    work.prepare(worker, place)


async def dask_teardown(worker: Worker) -> None:
    """Stop all guests: the worker closes."""
    await asyncio.to_thread(work.stop_all)


def _usable_processors(worker: Worker, threads: int) -> list[int]:
    """Return a processor for each thread. The workers of a LocalCluster are numbered, and begin with
    different ones.
    """
    usable = sorted(os.sched_getaffinity(0))
    first = 0
    with contextlib.suppress(TypeError, ValueError):
        first = int(worker.name) * threads
    return [usable[(first + each) % len(usable)] for each in range(threads)]
