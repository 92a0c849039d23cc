"""The client of Dask, and the workers that it may use."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from cryptography.x509 import load_pem_x509_certificates
from distributed import Client, LocalCluster
from distributed.security import Security

from foothold_lab.harness.cluster.machine import FACTS, guest_resource
from foothold_lab.harness.model import provenance
from foothold_lab.harness.model.errors import InfrastructureError, UsageError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.placement import split_placement
from foothold_lab.harness.model.workers import WorkerFacts

CONNECT_SECONDS = 20.0
WORKERS_SECONDS = 60.0  # until the first worker has joined
PRELOAD = "foothold_lab.harness.cluster.preload"
_LOCAL = re.compile(r"local(?::([0-9]{1,3}))?")
_ADDRESS = re.compile(r"(?:tcp|tls)://.+:[0-9]{1,5}")


@dataclass
class Cluster:
    """A cluster that is connected. `workers` are those that this process may use, by address;
    `refused` says why another one may not be used.
    """

    address: str
    client: Client
    workers: dict[str, WorkerFacts] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    _resources: dict[str, Mapping[str, float]] = field(default_factory=dict)
    _supporting: dict[str, frozenset[str]] = field(default_factory=dict)
    _able: dict[tuple[str, frozenset[str]], frozenset[str]] = field(default_factory=dict)
    _processors: dict[frozenset[str], int] = field(default_factory=dict)

    def look(self) -> None:
        """Find out which workers there are now. Raises InfrastructureError without a scheduler."""
        with self.errors():
            addresses = self.client.sync(self.client.scheduler.ncores)
            # what workers say of themselves is much: 10 kB each
            if addresses.keys() == self.workers.keys() | self.refused.keys():
                return
            # not scheduler_info: another thread of the client may replace its answer by one without workers
            found = self.client.sync(self.client.scheduler.identity, n_workers=-1)["workers"]
        for known in (self._supporting, self._able, self._processors):
            known.clear()
        self._resources = {name: each["resources"] for name, each in found.items()}
        for members in (self.workers, self.refused):
            for address in members.keys() - found.keys():
                del members[address]
        for address in found.keys() - self.workers.keys() - self.refused.keys():
            facts = _read_facts(found[address].get(FACTS))
            if facts is None:
                self.refused[address] = (
                    f"the worker {address} is refused: it is not one of Foothold, or of another "
                    f"version; start it with `foothold worker`, or with --preload {PRELOAD}"
                )
            elif why := objection(facts):
                self.refused[address] = f"the worker {facts.name} is refused: {why}"
            else:
                self.workers[address] = facts

    def supporting(self, guest: str) -> frozenset[str]:
        """Return the addresses of the workers that support a guest."""
        if guest not in self._supporting:
            wanted = guest_resource(guest)
            found = (each for each in self.workers if wanted in self._resources[each])
            self._supporting[guest] = frozenset(found)
        return self._supporting[guest]

    def able(self, guest: str, banned: frozenset[str] = frozenset()) -> frozenset[str]:
        """Return the addresses of the workers that bring a cell of a guest to its verdict, without those
        that are banned. A guest that no worker supports may go to any of them, which says why; the
        machine of a worker may not.
        """
        if (guest, banned) not in self._able:
            _, worker = split_placement(guest)
            found = self.supporting(guest)
            any_of = found if found or worker else frozenset(self.workers)
            self._able[guest, banned] = any_of - banned
        return self._able[guest, banned]

    def check(self, guests: Iterable[str]) -> None:
        """Raise UsageError if one of these guests is the machine of a worker that is not there."""
        for guest in dict.fromkeys(guests):
            if not self.able(guest):
                raise UsageError(
                    f"no worker of {self.address} is {guest}",
                    f"its workers are: {', '.join(self.names)}",
                )

    @property
    def names(self) -> list[str]:
        """The names of the workers, sorted."""
        return sorted(each.name for each in self.workers.values())

    @property
    def processors(self) -> int:
        """All processors of the workers."""
        return sum(each.processors for each in self.workers.values())

    def processors_of(self, addresses: frozenset[str]) -> int:
        """All processors of some workers."""
        if addresses not in self._processors:
            found = sum(self.workers[each].processors for each in addresses)
            self._processors[addresses] = found
        return self._processors[addresses]

    @property
    def largest(self) -> int:
        """The memory of the worker that has most, in MiB."""
        return max((each.memory for each in self.workers.values()), default=0)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the errors of a lost connection into InfrastructureError."""
        try:
            yield
        # AttributeError: a closed client has no connection to a scheduler
        except (OSError, RuntimeError, KeyError, AttributeError) as error:
            raise scheduler_lost(self.address, error) from error


@contextlib.contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """Connect to the scheduler at an address, or start a cluster on this machine for `local[:N]`.

    Waits for the first worker. Raises UsageError if the address makes no sense or no worker can be
    used, InfrastructureError if no scheduler answers.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # we tell what happens
    with contextlib.ExitStack() as stack:
        if local := _LOCAL.fullmatch(address):
            place: Any = stack.enter_context(_local_cluster(int(local[1] or 1)))
        elif _ADDRESS.fullmatch(address):
            check_certificates(address, "client")
            place = address
        else:
            raise UsageError(
                f"--cluster {address!r} is not the address of a cluster",
                "write tcp://HOST:PORT, tls://HOST:PORT, local, or local:N",
            )
        try:
            client = stack.enter_context(
                Client(place, timeout=CONNECT_SECONDS, set_as_default=False)
            )
        except (OSError, ValueError, TypeError) as error:
            raise _unreachable(address, error) from error
        cluster = Cluster(address, client)
        with cluster.errors(), contextlib.suppress(TimeoutError):
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        cluster.look()
        if not cluster.workers:
            raise UsageError(
                "; ".join(cluster.refused.values()) or f"the cluster at {address} has no worker",
                f"install the same Foothold and Python there as here, and start `foothold worker "
                f"{address}`",
            )
        yield cluster


def _unreachable(address: str, error: BaseException) -> InfrastructureError:
    """Return the error for a scheduler that cannot be spoken to."""
    why = str(error) or "it took too long"
    remedy = (
        "start one with `dask scheduler`; if it uses TLS, write tls:// and use certificates of its "
        "authority (docs/cluster.md)"
    )
    cause: BaseException | None = error
    while cause := cause and (cause.__cause__ or cause.__context__):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"its certificate is refused: {cause.verify_message}"
            remedy = (
                "make certificates of one authority for all machines (docs/cluster.md#trust), and "
                "start the scheduler and the workers again; or set the clock of this machine"
            )
    return InfrastructureError(
        f"no scheduler of Dask answers at {address}: {why}",
        remedy,
        code=Code.INFRASTRUCTURE_WORKER,
    )


def check_certificates(address: str, role: Literal["client", "worker"]) -> None:
    """Raise UsageError if an address needs certificates, and the configuration of Dask has none that
    can be used.
    """
    if not address.startswith("tls://"):
        return
    variable = f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__"
    remedy = (
        "name the files in DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
        f"{variable}CERT and {variable}KEY (docs/cluster.md#trust)"
    )
    try:
        security = Security()
        named = security.get_tls_config_for_role(role)
        for file in filter(None, (named["ca_file"], named["cert"], named["key"])):
            if "\n" not in file:  # it is not the certificate itself
                Path(file).open("rb").close()  # ssl does not name a file that it cannot read
        for file in filter(None, (named["ca_file"], named["cert"])):
            _check_days(file)
        context = security.get_connection_args(role)["ssl_context"]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the certificates in the configuration of Dask cannot be used: {error}", remedy
        ) from error
    if context is None:
        raise UsageError(
            f"{address} needs a certificate, and the configuration of Dask names none for a {role}",
            remedy,
        )


def _check_days(file: str) -> None:
    """Raise UsageError for a certificate that has ended, or has not begun. Raises OSError, ValueError."""
    text = file.encode() if "\n" in file else Path(file).read_bytes()
    name = "the certificate in the configuration of Dask" if "\n" in file else file
    now = datetime.now(UTC)
    for certificate in load_pem_x509_certificates(text):
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now > end:
            raise UsageError(
                f"{name} ended on {end:%Y-%m-%d}, and this machine has {now:%Y-%m-%d}",
                "make new certificates (docs/cluster.md#trust) and copy them to all machines; if "
                "that is not the day of today, set the clock of this machine",
            )
        if now < begin:
            raise UsageError(
                f"{name} begins on {begin:%Y-%m-%d}, and this machine has {now:%Y-%m-%d}",
                "set the clock of this machine",
            )


def scheduler_lost(address: str, error: Exception) -> InfrastructureError:
    """Return the error for a scheduler that does not answer any more."""
    return InfrastructureError(
        f"the scheduler at {address} was lost: {error or type(error).__name__}",
        "start it and its workers again, and repeat the cells without a verdict",
        code=Code.INFRASTRUCTURE_WORKER,
    )


def _read_facts(text: object) -> WorkerFacts | None:
    """Return what a worker says of itself; None if it says nothing that can be read."""
    try:
        return msgspec.json.decode(text, type=WorkerFacts) if isinstance(text, str) else None
    except (msgspec.MsgspecError, ValueError):
        return None


def objection(facts: WorkerFacts) -> str:
    """Say why a worker may not be used; empty if it may."""
    here = provenance.here()
    ours, theirs = (text.rpartition(".")[0] for text in (here.python, facts.python))
    if ours != theirs:
        return f"it has Python {theirs}, and this machine {ours}"
    if here.code != facts.code:
        mine, other = f"{here.version} ({here.code})", f"{facts.foothold} ({facts.code})"
        return f"it has Foothold {other}, and this machine {mine}"
    return ""


@contextlib.contextmanager
def _local_cluster(workers: int) -> Iterator[LocalCluster]:
    """Start a scheduler and workers of this machine, which only this process can use."""
    if workers < 1:
        raise UsageError("--cluster local:0 has no workers", "write local:1, or more")
    processors = len(os.sched_getaffinity(0))
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=max(1, processors // workers),
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        security=True,  # keys that are made for this cluster: other users cannot connect
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        preload=[PRELOAD],
    ) as cluster:
        yield cluster


def worker_command(address: str, name: str, threads: int, host: str, directory: str) -> list[str]:
    """Return the command line of a worker of Dask that is one of ours."""
    return [
        sys.executable, "-m", "distributed.cli.dask_worker", address,
        "--name", name, "--host", host, "--nworkers", "1", "--nthreads", str(threads),
        "--memory-limit", "0", "--no-nanny", "--no-dashboard", "--dashboard-address", "127.0.0.1:0",
        "--preload", PRELOAD, *(("--local-directory", directory) if directory else ()),
    ]  # fmt: skip
