"""The option --cluster: cells run on the workers of a cluster of Dask.distributed."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.parameters import gather
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.ssh_address import is_ssh_address

if TYPE_CHECKING:
    from foothold_lab.harness.cluster.connection import Cluster
    from foothold_lab.harness.cluster.coordinator import ClusterWorkforce
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.model.events import Emit
    from foothold_lab.harness.runner import RunOptions

ADDRESS = "FOOTHOLD_CLUSTER"


@dataclass(frozen=True)
class ClusterOptions:
    """The address of a cluster; None: the cells run on this machine."""

    address: str | None

    @contextlib.contextmanager
    def connected(self) -> Iterator[Cluster | None]:
        """Yield the cluster, or None without an address. Raises UsageError and
        InfrastructureError.
        """
        if self.address is None:
            yield None
            return
        check_dask("--cluster")
        from foothold_lab.harness.cluster.connection import connect

        with connect(self.address) as cluster:
            yield cluster

    def refuse_with(self, others: Iterable[tuple[str, object]]) -> None:
        """Raise UsageError if one of these options, by name and value, is given with a cluster."""
        if self.address is None:
            return
        for name, value in others:
            if value:
                raise UsageError(
                    f"{name} is for guests of this machine, and --cluster boots them elsewhere",
                    f"leave out {name}, or --cluster",
                )

    def check_guests(self, cells: Iterable[Cell], machines: Container[str]) -> None:
        """Raise UsageError for a guest that is a worker's machine without a cluster, and for one that is
        reached by SSH with one. `machines` are those with a name of their own.
        """
        from foothold_lab.harness.model.placement import split_placement

        for guest in dict.fromkeys(cell.guest for cell in cells):
            if self.address is None and split_placement(guest)[1]:
                raise UsageError(
                    f"{guest} is the machine of a worker", "name its cluster: --cluster ADDRESS"
                )
            by_ssh = guest in machines or is_ssh_address(guest)
            self.refuse_with([(f"the guest {guest}, which is reached by SSH,", by_ssh)])


cluster_options = gather(
    "cluster",
    ClusterOptions,
    [
        click.Option(
            ["--cluster", "address"],
            metavar="ADDRESS",
            envvar=ADDRESS,
            help="Run the cells on the workers of a cluster: tcp://HOST:PORT, tls://HOST:PORT, or "
            f"local[:N], N workers on this machine (environment: {ADDRESS}).",
        )
    ],
)


def check_dask(what: str) -> None:
    """Raise UsageError if Dask.distributed is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise UsageError(
            f"{what} needs Dask.distributed, which is not installed",
            "pip install 'foothold-lab[cluster]'",
        )


def with_machines(
    cluster: Cluster | None, cells: tuple[Cell, ...], *, chosen: bool
) -> tuple[Cell, ...]:
    """Return the cells with those of the machine of each worker besides those of `native`, unless the
    guests were chosen. Raises UsageError as `place_cells`.
    """
    from foothold_lab.harness.model.placement import with_every_machine

    cells = cells if chosen or cluster is None else with_every_machine(cells)
    return place_cells(cluster, cells, frozenset())[0]


def place_cells(
    cluster: Cluster | None, cells: tuple[Cell, ...], required: frozenset[str]
) -> tuple[tuple[Cell, ...], frozenset[str]]:
    """Return the cells and the required guests with the names of the workers in place of
    `native@*`. Raises UsageError for the machine of a worker that is not there.
    """
    from foothold_lab.harness.model.placement import on_every_worker, place

    if cluster is None:
        return cells, required
    placed = place(cells, cluster.names, ("--cluster", cluster.address))
    cluster.check(cell.guest for cell in placed)
    names = {cell.guest for cell in placed}
    return placed, frozenset(name for name in names if required & {name, on_every_worker(name)})


def workforce_of(
    cluster: Cluster | None, options: RunOptions, emit: Emit, history: Path
) -> ClusterWorkforce | None:
    """Return the workers of a cluster, which know how long the cells of its guests take; None
    without a cluster.
    """
    if cluster is None:
        return None
    from foothold_lab.harness.cluster.coordinator import ClusterWorkforce

    return ClusterWorkforce(cluster, options, emit, _typical_seconds(history))


def _typical_seconds(history: Path) -> dict[str, float]:
    """Return the median of the latest durations of each cell, and of the boots of each guest."""
    from foothold_lab.harness.results_db.database import Database, HistoryError
    from foothold_lab.harness.results_db.reader import median_boots, median_durations

    if not history.exists():
        return {}
    try:
        with Database(history, read_only=True) as database:
            return median_durations(database) | median_boots(database)
    except HistoryError:  # it is reported where the run is recorded
        return {}
