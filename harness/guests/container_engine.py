"""Container engines: Docker's, and Podman by its socket that is compatible with Docker's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from foothold_lab.harness.guests.base import Support
from foothold_lab.harness.guests.podman_service import PROGRAM, end_monitors, service_address
from foothold_lab.harness.model.errors import UnsupportedError

_UNIX = "unix://"


class Engine(Protocol):
    """An engine: how this process finds it, and what it is called."""

    program: str  # the name of its command, and of its guests
    title: str  # in a sentence
    scale: float  # as of `Guest`: how long it takes to start a program
    other_runtime: str  # how to get another runtime if no request can name one; empty: one can
    changes_memory: bool  # it can change the memory limit of a container that runs

    def connect(self, seconds: float) -> Any:
        """Return a client of the engine, which answers. `seconds` is the longest that a request takes.

        Raises DockerException or OSError without one, UnsupportedError if it cannot be used.
        """

    def without(self, error: Exception) -> Support:
        """Return the reason and the remedy if no engine answers."""

    def removed(self, container: str) -> None:
        """End what the engine leaves of a container that was removed, by its ID."""


class Docker:
    """The engine that DOCKER_HOST names, or that of this machine."""

    program = "docker"
    title = "the Docker engine"
    scale = 1.5
    other_runtime = ""
    changes_memory = True

    def connect(self, seconds: float) -> Any:
        """See `Engine.connect`."""
        import docker

        return _answering(docker.from_env(timeout=max(5, int(seconds))))

    def without(self, error: Exception) -> Support:
        """See `Engine.without`."""
        if _is_refused(error):
            return Support(
                False,
                "the Docker engine is there but refuses this user",
                "add the user to the group docker, or run as root",
            )
        return Support(
            False,
            "no Docker engine answers",
            "install one (on Debian and Ubuntu the package docker.io), then start `dockerd` as root",
        )

    def removed(self, container: str) -> None:
        """See `Engine.removed`."""


class Podman:
    """The service that CONTAINER_HOST or DOCKER_HOST names, that of this user or machine, or one that
    this process starts.
    """

    program = PROGRAM
    title = "Podman"
    scale = 6.0  # three processes start for each program
    other_runtime = (
        "start it with that: `podman --runtime {} system service --time 0 unix:///tmp/podman.sock`; set "
        "CONTAINER_HOST=unix:///tmp/podman.sock, and leave +runtime= out"
    )
    changes_memory = False  # /containers/ID/update is not among its compatible requests (4.3)

    def connect(self, seconds: float) -> Any:
        """See `Engine.connect`."""
        import docker

        timeout = max(5, int(seconds))
        if named := os.environ.get("CONTAINER_HOST"):
            return _answering(docker.DockerClient(_local(named), timeout=timeout))
        for address in _sockets():
            with contextlib.suppress(docker.errors.DockerException, OSError):
                client = _answering(docker.DockerClient(address, timeout=timeout))
                if is_podman(client):
                    return client
                client.close()
        return _answering(docker.DockerClient(service_address(), timeout=timeout))

    def without(self, error: Exception) -> Support:
        """See `Engine.without`."""
        if named := os.environ.get("CONTAINER_HOST"):
            return Support(
                False,
                f"no Podman answers at CONTAINER_HOST={named}",
                "start it (`systemctl --user start podman.socket`), or unset CONTAINER_HOST: then "
                "Foothold starts one",
            )
        return Support(False, f"Podman does not answer: {error}", "try `podman info`")

    def removed(self, container: str) -> None:
        """See `Engine.removed`."""
        end_monitors(container)


ENGINES: Mapping[str, Engine] = {each.program: each for each in (Docker(), Podman())}


def is_podman(client: Any) -> bool:
    """Say whether the engine of a client is Podman."""
    parts = client.version().get("Components") or ()
    return any(str(each.get("Name")).startswith("Podman") for each in parts)


def _answering(client: Any) -> Any:
    try:
        client.ping()
    except BaseException:
        client.close()
        raise
    return client


def _local(address: str) -> str:
    """Return an address if it is that of this machine: images and files are shown to containers."""
    if address.startswith(_UNIX):
        return address
    raise UnsupportedError(
        f"CONTAINER_HOST={address} is not a socket of this machine",
        f"give {_UNIX}/PATH, or unset CONTAINER_HOST: then Foothold starts a service",
    )


def _sockets() -> Iterator[str]:
    """Yield the addresses at which a service may be: podman-system-service(1)."""
    if (named := os.environ.get("DOCKER_HOST", "")).startswith(_UNIX):
        yield named
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    for directory in (runtime, "/run") if os.getuid() else ("/run",):
        if (path := Path(directory, PROGRAM, "podman.sock")).exists():
            yield f"{_UNIX}{path}"


def _is_refused(error: Exception) -> bool:
    return isinstance(error, PermissionError) or "Permission denied" in str(error)
