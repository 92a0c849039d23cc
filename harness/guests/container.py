"""Containers of an engine of this machine: Docker, or Podman.

What is in them is one of `container_root` (the root file system of UML and QEMU) and
`container_image` (an image of the user). A subject that brings files gets a container of its own.

PID 1 is the agent. It runs as long as this process is attached to its standard input: if this
process dies, the engine closes the attachment, and the container ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from foothold_lab.harness.guests.base import (
    BootRecord,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Support,
)
from foothold_lab.harness.guests.container_archive import read_file, tar_of
from foothold_lab.harness.guests.container_engine import Engine
from foothold_lab.harness.guests.vm_process import AS_ANOTHER_USER
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import (
    GuestError,
    SubjectError,
    UnsupportedError,
    UsageError,
)
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.arguments import ArgumentStream
from foothold_lab.harness.transport.container import ExecStream
from foothold_lab.harness.transport.frames import LostContactError, unknown_user
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.harness.transport.supervised import agent_arguments, measured

PARTING = 10.0  # seconds for the agent to kill what it supervises and to exit
ANSWER = 30.0  # seconds for an engine to answer; Podman starts in 0.2 s, on a busy machine in 15 s
LABEL = "org.foothold-lab.guest"


class Contents(Protocol):
    """What is in the containers of a guest: where the image comes from, and how a subject gets in."""

    @property
    def config(self) -> GuestConfig:
        """What the guest is given."""

    @property
    def capabilities(self) -> Capabilities:
        """What such a container can do."""

    @property
    def paths(self) -> GuestPaths:
        """Where things are in a container; complete after `prepare`."""

    def supported(self, client: Any) -> Support:
        """Say whether the engine can have it; downloads nothing."""

    def prepare(self, client: Any) -> Mapping[str, str]:
        """Make sure that the engine has the image, and return what it is made of.

        Raises UnsupportedError.
        """

    def create(self, client: Any, overlay: str, settings: Mapping[str, Any]) -> Any:
        """Create a container for subjects whose files are the tree `overlay` of the share.

        Raises UnsupportedError if it cannot take such files.
        """

    def fill(self, container: Any, overlay: str) -> None:
        """Copy files into a container that has not started."""

    def finish(self, container: Any, overlay: str) -> str:
        """Complete a container that has started. Returns the tracer: its path, or OWN_TRACER."""

    def place(self, container: Any, how: Supervision) -> tuple[str, Supervision]:
        """Return the user of the engine's exec (empty: that of the container), and how the agent
        starts a program as that user.
        """


@dataclass(frozen=True)
class _Running:
    """A container that runs, the socket that keeps it alive, and the tracer in it."""

    container: Any
    attached: Any
    tracer: str = ""


@dataclass(frozen=True)
class _Kind:
    """What distinguishes the containers of a guest: the files that a subject brings (empty: none), and
    a limit of memory that cannot be changed afterwards.
    """

    overlay: str = ""
    memory: int | None = None


class Container:
    """Containers without network, and without files of the host."""

    def __init__(self, name: str, contents: Contents, engine: Engine) -> None:
        self.name = name
        self.boot_record = BootRecord()
        self._contents = contents
        self._engine = engine
        self.scale = engine.scale
        self._client: Any = None
        self._running: dict[_Kind, _Running] = {}
        self._memory = 0

    @property
    def capabilities(self) -> Capabilities:
        """What its type can do."""
        return self._contents.capabilities

    @property
    def paths(self) -> GuestPaths:
        """Where things are in it."""
        return self._contents.paths

    def supported(self) -> Support:
        """It needs an engine that answers, and what is to be in the container."""
        from docker.errors import DockerException

        try:
            with contextlib.closing(self._engine.connect(ANSWER)) as client:
                return self._contents.supported(client)
        except UnsupportedError as error:
            return Support(False, str(error), error.remedy)
        except (DockerException, OSError) as error:
            return self._engine.without(error)

    def boot(self, deadline: Deadline) -> Facts:
        """Create and start the container, and measure its address space; see `Guest.boot`."""
        from docker.errors import DockerException

        seconds = deadline.remaining
        try:
            self._client = self._engine.connect(seconds)
            self.boot_record.provenance.update(self._contents.prepare(self._client))
            deadline = Deadline.after(seconds)  # an image may have been downloaded
            self.boot_record.argv = (self.paths.agent, "idle")
            main = self._start(_Kind())
            engine = f"{self._engine.program} {self._client.version()['Version']}"
            self.boot_record.provenance.update(
                {"engine": engine, "container": main.container.short_id}
            )
            facts = self._measure(main, deadline)
            self._memory = facts.memory
            return facts
        except (DockerException, OSError) as error:
            if "bind source path does not exist" in str(error):
                raise UnsupportedError(
                    f"{self._engine.title} does not see the files of this machine, so it cannot show "
                    "an image",
                    "use an engine that runs on this machine",
                ) from error
            raise GuestError(
                f"{self._engine.title} refuses: {error}",
                _remedy(error),
                code=Code.GUEST_BOOT,
            ) from error

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`."""
        from docker.errors import DockerException

        own = replace(limits, memory=None)  # the engine has made a cgroup
        try:
            changes = self._engine.changes_memory
            kind = _Kind(how.overlay, None if changes else limits.memory)
            running = self._running.get(kind) or self._start(kind)
            if kind.memory is not None:
                self._check_memory(running, kind.memory, deadline)
            if changes and limits.memory is not None:
                self._limit_memory(running, limits.memory)
            user, placed = self._contents.place(running.container, how)
            arguments = agent_arguments(own, argv, placed, running.tracer)
            command = (self.paths.agent, "run")
            stream = ExecStream(self._client.api, running.container.id, command, user)
        except (DockerException, OSError) as error:
            raise _not_taken(error, how.user) from error
        try:
            yield ArgumentStream(stream, arguments)
        except LostContactError as error:
            died = GuestError(
                f"the container went away under the subject: {error}",
                code=Code.GUEST_DIED,
                console=_last_lines(running),
            )
            died.record = error.record
            raise died from error
        except SubjectError as error:
            if stream.end(Deadline.after(PARTING)):
                raise
            died = GuestError(f"{error}, and then its agent did not end: it was stopped",
                              AS_ANOTHER_USER, code=Code.GUEST_KILLED)  # fmt: skip
            died.record = error.record
            raise died from None
        finally:
            stream.close()
            if changes and limits.memory is not None:
                # an engine cannot remove a limit: the memory of the machine is as good as none
                with contextlib.suppress(DockerException, OSError):
                    self._limit_memory(running, self._memory)

    def _start(self, kind: _Kind) -> _Running:
        """Create and start a container, with the files of a subject at their own paths."""
        import docker

        settings = {
            "network_mode": "none", "auto_remove": True, "stdin_open": True, "pids_limit": 4096,
            "labels": {LABEL: self.name},
            "mounts": [
                docker.types.Mount(str(path), str(path), type="bind", read_only=True)
                for path in self._contents.config.image_paths()
            ],
        }  # fmt: skip
        if kind.memory is not None:
            settings.update(mem_limit=kind.memory, memswap_limit=kind.memory)
        container = self._contents.create(self._client, kind.overlay, settings)
        attach = {"stdin": 1, "stream": 1}
        try:
            self._contents.fill(container, kind.overlay)
            attached = self._client.api.attach_socket(container.id, params=attach)
            container.start()
        except BaseException:
            with contextlib.suppress(docker.errors.DockerException, OSError):
                container.remove(force=True, v=True)
            raise
        running = self._running[kind] = _Running(container, attached)  # now stop() removes it
        tracer = self._contents.finish(container, kind.overlay)
        running = self._running[kind] = replace(running, tracer=tracer)
        return running

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`."""
        parent = Path("/") if source.is_dir() else Path(target).parent
        self._main.put_archive(str(parent), tar_of(source, str(Path(target).relative_to(parent))))

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`."""
        target.write_bytes(read_file(self._main, source))

    def diagnose(self) -> str:
        """Return what the container printed last."""
        return "\n".join(filter(None, map(_last_lines, self._running.values())))

    def stop(self) -> None:
        """Remove the containers."""
        from docker.errors import DockerException

        running, self._running = self._running, {}
        for each in running.values():
            with contextlib.suppress(DockerException, OSError):
                each.container.remove(force=True, v=True)
            self._engine.removed(each.container.id)
            with contextlib.suppress(OSError):
                each.attached.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def _main(self) -> Any:
        """The container of programs that bring no files."""
        return self._running[_Kind()].container

    def _limit_memory(self, running: _Running, size: int) -> None:
        """Set the limit of the cgroup of a container, without swap."""
        running.container.update(mem_limit=size, memswap_limit=size)

    def _check_memory(self, running: _Running, size: int, deadline: Deadline) -> None:
        """Raise UnsupportedError if the engine has not limited the memory of a container."""
        if self._measure(running, deadline).cgroup.limit == size:
            return
        raise UnsupportedError(
            f"{self._engine.title} ignores limits of memory here: a user who is not root has no memory "
            "cgroup of version 1",
            "run as root, or on a machine with cgroup version 2",
            code=Code.UNSUPPORTED_LIMIT,
        )

    def _measure(self, running: _Running, deadline: Deadline) -> Facts:
        stream = ExecStream(self._client.api, running.container.id, [self.paths.agent, "facts"])
        try:
            return measured(stream, deadline)
        except GuestError as error:
            raise GuestError(
                str(error), error.remedy, code=error.code, console=self.diagnose()
            ) from None
        finally:
            stream.close()


def _last_lines(running: _Running) -> str:
    """Return what a container printed last."""
    from docker.errors import DockerException

    with contextlib.suppress(DockerException, OSError):
        return str(running.container.logs(tail=20).decode(errors="replace"))
    return ""


def _not_taken(error: Exception, user: str) -> GuestError | UsageError:
    """Return why a container does not start a program."""
    if user and "unable to find user" in str(error):
        return unknown_user(user)
    return GuestError(f"the container takes no more programs: {error}", code=Code.GUEST_DIED)


def _remedy(error: Exception) -> str:
    """Return what helps if an engine cannot start a container."""
    if "error setting rlimit" in str(error):
        return (
            "this machine does not let the engine raise limits: give the containers lower ones in "
            '/etc/containers/containers.conf, `default_ulimits = ["nofile=4096:4096"]` below '
            "[containers]"
        )
    return "read the log of the engine"
