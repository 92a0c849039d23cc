"""Machines for tests: network namespaces on one bridge, each with a home, a cache, a name and a
loopback of its own. The caches begin with the images of the user's. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.guests.processes import with_word

NETWORK = "10.214.77"
SECONDS = 300.0  # until something happens; the machine may be busy
PORT = 8786  # of the scheduler, in a network of its own
_ENTER = """
set -e
hostname "$1"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$3/upper,workdir=$3/lower" "$2"
[ -z "$4" ] || mount -t tmpfs -o "size=$4" tmpfs "$3/work"
shift 4
exec "$@"
"""


def wait_for(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait until a condition holds. Raises AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


@dataclass
class Machine:
    """A machine of the farm. `disk` limits the disk of its worker, such as `100m`."""

    name: str
    namespace: str
    link: str
    address: str
    home: Path
    cache: Path
    switch: str
    disk: str = ""
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *argv: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start a program there. Its output goes to a file in the home."""
        # not `ip netns exec`, which hides the cgroups
        network = f"--net=/run/netns/{self.namespace}"
        entering = ["nsenter", network, "unshare", "--mount", "--uts"]
        words = ["sh", "-c", _ENTER, "sh", self.name, self.cache, self.home, self.disk, *argv]
        log = (self.home / f"log-{len(self.processes)}").open("w")
        process = subprocess.Popen(
            [*entering, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={
                **os.environ,
                "HOME": str(self.home),
                "XDG_STATE_HOME": str(self.home / "state"),
                "FOOTHOLD_CACHE": str(self.cache),
                "FOOTHOLD_HISTORY": str(self.home / "history.db"),
                **environment,
            },
        )
        log.close()
        self.processes.append(process)
        return process

    def foothold(self, *words: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start the program foothold there."""
        argv = (sys.executable, "-m", "foothold_lab.harness.cli", *words)
        return self.start(*argv, **environment)

    def output(self, process: subprocess.Popen[str]) -> str:
        """What a program has printed until now."""
        return (self.home / f"log-{self.processes.index(process)}").read_text()

    def guests(self) -> list[str]:
        """The command lines of the processes of chunks that run there."""
        return [line for line in with_word(str(self.home / "work")).values() if "/chunk-" in line]

    def plug(self, *, plugged: bool) -> None:
        """Plug the cable in, or pull it."""
        state = "up" if plugged else "down"
        _ip("-n", self.switch, "link", "set", self.link, state)

    def stop(self) -> None:
        """Kill all that was started there."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass
class Worker:
    """A worker that was started on a machine."""

    machine: Machine
    process: subprocess.Popen[str]

    def has_joined(self) -> bool:
        """Is it registered? Raises AssertionError if it has ended."""
        text = self.machine.output(self.process)
        assert self.process.poll() is None, text
        return "Registered to" in text

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@dataclass
class Farm:
    """Machines on a bridge: `head` has the scheduler and the coordinators.

    `tls` is the environment that names certificates, empty for a cluster without TLS.
    """

    head: Machine
    workers: dict[str, Machine]
    tls: dict[str, str] = field(default_factory=dict)
    scheduler: subprocess.Popen[str] | None = None
    running: dict[str, Worker] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """The address of the scheduler."""
        return f"{self._protocol}://{self.head.address}:{PORT}"

    @property
    def _protocol(self) -> str:
        return "tls" if self.tls else "tcp"

    def start_scheduler(self) -> None:
        self.scheduler = self.head.start(
            sys.executable, "-m", "distributed.cli.dask_scheduler", "--protocol", self._protocol,
            "--host", self.head.address, "--port", str(PORT), "--dashboard-address", "127.0.0.1:0",
            **self.tls,
        )  # fmt: skip
        process = self.scheduler
        self.running.clear()
        wait_for(lambda: "Scheduler at" in self.head.output(process), "the scheduler")

    def start_workers(self, *names: str, **environment: str) -> list[Worker]:
        """Start the workers of machines whose worker does not run; all have joined when this returns."""
        for name in names:
            if name not in self.running or self.running[name].process.poll() is not None:
                machine = self.workers[name]
                words = ("worker", self.cluster, "--directory", machine.home / "work")
                self.running[name] = Worker(
                    machine, machine.foothold(*words, **self.tls, **environment)
                )
        for name in names:
            wait_for(self.running[name].has_joined, f"the worker {name}")
        return [self.running[name] for name in names]

    def stop_workers(self, *names: str) -> None:
        """Kill the workers of machines."""
        for name in names:
            if worker := self.running.pop(name, None):
                worker.kill()

    def run(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start `foothold run … --cluster` on the head."""
        # a busy machine may cost a cell its tracer, which is not what is tested
        words = (*words, "--retries", "2", "--cluster", self.cluster)
        return self.head.foothold("run", *words, **self.tls)

    def guests(self) -> list[str]:
        """The guests of all workers."""
        return [line for each in self.workers.values() for line in each.guests()]


@contextlib.contextmanager
def farm(directory: Path, cache: Path, names: tuple[str, ...]) -> Iterator[Farm]:
    """Make a farm with these workers, none of which runs yet. All is gone at the end."""
    prefix = f"fh{os.getpid()}"
    with contextlib.ExitStack() as stack:
        switch = f"{prefix}-switch"
        stack.enter_context(_namespace(switch))
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        made = []
        for number, name in enumerate(("head", *names), 1):
            home = directory / name
            for folder in ("upper", "lower", "work"):
                (home / folder).mkdir(parents=True)
            machine = Machine(
                name=name,
                namespace=f"{prefix}-{name}",
                link=f"port{number}",
                address=f"{NETWORK}.{number}",
                home=home,
                cache=cache,
                switch=switch,
            )
            stack.enter_context(_namespace(machine.namespace))
            _connect(machine, switch)
            stack.callback(machine.stop)
            made.append(machine)
        head, *workers = made
        yield Farm(head, {each.name: each for each in workers})


def _connect(machine: Machine, switch: str) -> None:
    inside = ("-n", machine.namespace)
    _ip("-n", switch, "link", "add", machine.link, "type", "veth", "peer", "name", "eth0",
        "netns", machine.namespace)  # fmt: skip
    _ip("-n", switch, "link", "set", machine.link, "master", "bridge", "up")
    _ip(*inside, "address", "add", f"{machine.address}/24", "dev", "eth0")
    _ip(*inside, "link", "set", "eth0", "up")
    _ip(*inside, "link", "set", "lo", "up")


@contextlib.contextmanager
def _namespace(name: str) -> Iterator[None]:
    _ip("netns", "add", name)
    try:
        yield
    finally:
        _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
