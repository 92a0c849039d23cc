"""`foothold worker`: offers this machine to a cluster."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from foothold_lab.harness.cli.cluster_options import ADDRESS, check_dask
from foothold_lab.harness.model.errors import UsageError


@click.command(short_help="Offer this machine to a cluster of Dask.distributed.")
@click.argument("address", envvar=ADDRESS)
@click.option("--name", metavar="NAME", help="Name of this worker (default: that of the machine).")
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Guests that run at once (default: one for each usable processor).",
)
@click.option(
    "--label",
    "names",
    multiple=True,
    metavar="LABEL",
    help="One more name of this machine, for guests such as native@LABEL; repeatable.",
)
@click.option(
    "--host",
    metavar="IP",
    help="Listen for the cluster at this address of this machine only (default: the one that "
    "leads to the scheduler).",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep files and evidence here until they have travelled (default: a temporary directory).",
)
@click.option(
    "--fetch-images",
    "fetched",
    type=click.IntRange(0, 10**9),
    metavar="MIB",
    help="Take images that this machine lacks from the machine of the run, at most so many MiB at "
    "once, instead of building them; 0: build all of them (default: 1024).",
)
def worker(address: str, **options: Any) -> int:
    """Run cells for `foothold run --cluster ADDRESS`, until the scheduler ends.

    ADDRESS is that of the scheduler, tcp://HOST:PORT or tls://HOST:PORT. The worker examines this machine
    as `foothold doctor` does, and offers its guests, processors and memory. It is a `dask worker` with our
    preload. Every client that reaches the scheduler can run programs as this user: see docs/cluster.md.
    """
    check_dask("a worker")
    _become_worker(address, _Settings(**options))


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """How this machine is offered; None: the default."""

    name: str | None
    threads: int | None
    names: tuple[str, ...]
    host: str | None
    directory: Path | None
    fetched: int | None


def _become_worker(address: str, settings: _Settings) -> NoReturn:
    from foothold_lab.harness.cluster.connection import check_certificates, worker_command
    from foothold_lab.harness.cluster.machine import FETCH, LABELS, labels

    argv = worker_command(
        address,
        settings.name or platform.node(),
        settings.threads or len(os.sched_getaffinity(0)),
        settings.host or _way_to(address),
        str(settings.directory or ""),
    )
    check_certificates(address, "worker")
    os.environ[LABELS] = ",".join(labels(",".join(settings.names)))
    if settings.fetched is not None:
        os.environ[FETCH] = str(settings.fetched)
    os.execv(argv[0], argv)  # noqa: S606


def _way_to(address: str) -> str:
    """Return the address of this machine from which packets go to a scheduler. Raises UsageError."""
    scheme, separator, place = address.partition("://")
    host, colon, port = place.rpartition(":")
    if scheme not in ("tcp", "tls") or not separator or not colon or not port.isdecimal():
        raise UsageError(
            f"{address!r} is not the address of a scheduler",
            "write tcp://HOST:PORT or tls://HOST:PORT",
        )
    try:
        family, _, _, _, target = socket.getaddrinfo(host.strip("[]"), int(port))[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no way leads from this machine to {host}: {error}",
            "check the address and the network",
        ) from error
