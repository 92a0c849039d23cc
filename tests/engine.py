"""A Docker engine for the tests: the one that answers, or, for root, one that is started here.

`python -m tests.engine COMMAND…` runs COMMAND with an engine and stops the engine that it started. If
there is no engine and this user may not start one, COMMAND runs without: the tests that need an
engine are skipped and name the reason. Podman, if it is installed, gets a storage of its own, which is
removed afterwards. Before COMMAND, `--install` installs Debian's engines if there are none, and
`--no-seccomp` starts an engine whose seccomp profile allows its containers every call.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# program -> Debian's package
PACKAGES = {"dockerd": "docker.io", "podman": "podman"}
LOW = 4096  # files and processes of a container of Podman, which any machine allows
SECONDS = 60  # an engine answers after 2 s, in a slow container after 10 s (measured)


def answers(address: str | None = None) -> bool:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.DockerClient(address, timeout=5) if address else docker.from_env(timeout=5)
        with contextlib.closing(client):
            return bool(client.ping())
    except (DockerException, OSError):
        return False


def install() -> None:
    """Install the engines that are missing from Debian's packages."""
    wanted = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if not wanted:
        return
    say(f"installing {' '.join(wanted)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-y", "-qq", "--no-install-recommends"]
    for argv in (["apt-get", "update", "-qq"], ["apt-get", "install", *options, *wanted]):
        subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def podman_storage() -> Iterator[None]:
    """Give Podman a storage that is removed afterwards, and containers the limits of this process:
    root of a machine that is itself confined may not raise them.
    """
    if os.geteuid() != 0 or not shutil.which("podman"):
        yield
        return
    hard = {
        name: resource.getrlimit(number)[1]
        for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
    }
    with tempfile.TemporaryDirectory(prefix="foothold-podman-storage-") as folder:
        storage, containers = Path(folder, "storage.conf"), Path(folder, "containers.conf")
        storage.write_text(
            f'[storage]\ndriver = "overlay"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n'
        )
        low = {name: min(most if most >= 0 else LOW, LOW) for name, most in hard.items()}
        limits = [f"{name}={most}:{most}" for name, most in low.items()]
        containers.write_text(f"[containers]\ndefault_ulimits = {json.dumps(limits)}\n")
        os.environ["CONTAINERS_STORAGE_CONF"] = str(storage)
        os.environ["CONTAINERS_CONF"] = str(containers)
        try:
            yield
        finally:
            subprocess.run(["podman", "rm", "-fa"], stdout=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def engine(*, seccomp: bool = True) -> Iterator[None]:
    if seccomp and answers():
        yield
        return
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        say("no Docker engine answers or can be started here: tests with containers are skipped")
        yield
        return
    with tempfile.TemporaryDirectory(prefix="foothold-engine-") as folder:
        home = Path(folder)
        address = f"unix://{home}/docker.sock"
        profile = home / "allow-all.json"
        profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
        with (home / "log").open("wb") as log:
            daemon = subprocess.Popen(
                [
                    "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none",
                    "--data-root", f"{home}/data", "--exec-root", f"{home}/exec",
                    "--pidfile", f"{home}/pid", "-H", address, *_runtimes(home),
                    *(() if seccomp else ("--seccomp-profile", str(profile))),
                ],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + SECONDS
            while not answers(address):
                if daemon.poll() is not None or time.monotonic() > deadline:
                    say("dockerd did not start: " + (home / "log").read_text()[-2000:])
                    break
                time.sleep(0.1)
            else:
                os.environ["DOCKER_HOST"] = address
            yield
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()


def _runtimes(home: Path) -> list[str]:
    """Return options for the runtime runsc, if its image is in the cache."""
    from foothold_lab.images.builder import Builder
    from foothold_lab.images.catalogue import RUNSC

    builder = Builder()
    if not builder.ready(RUNSC):
        return []
    program = str(builder.image(RUNSC) / "usr/bin/runsc")
    # without --network=none it refuses the namespaces of an engine that has no bridge
    runtimes = {"runsc": {"path": program, "runtimeArgs": ["--network=none"]}}
    (home / "daemon.json").write_text(json.dumps({"runtimes": runtimes}))
    return ["--config-file", f"{home}/daemon.json"]


def run(argv: list[str], environment: dict[str, str] | None = None) -> int:
    """Run a command, and return its exit code. SIGTERM ends it, and then this process."""
    # Ctrl-C also reaches the command, which stops its guests
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(
        argv, env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    ) as command:
        signal.signal(signal.SIGTERM, lambda *_: command.terminate())
        return command.wait()


def say(text: str) -> None:
    sys.stderr.write(f"tests.engine: {text}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run a command with a Docker engine.")
    parser.add_argument(
        "--install", action="store_true", help="install Debian's engines if there are none"
    )
    parser.add_argument("--no-seccomp", action="store_true", help="allow containers every call")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.install:
        os.environ["FOOTHOLD_TEST_INSTALL"] = "1"  # see tests/browser/chromium.py
        install()
    with podman_storage(), engine(seccomp=not given.no_seccomp):
        raise SystemExit(run(given.command))
