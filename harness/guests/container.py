"""A container of the Docker engine of this machine, with the root file system of UML and QEMU.

PID 1 is the agent. It runs as long as this process is attached to its standard input: if this
process dies, the engine closes the attachment, and the container ends.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from foothold_lab.harness.guests.base import (
    AGENT,
    HOST_DIRECTORY,
    HOST_LIMITS,
    LEAVE_ROOT,
    NO_HOST_ROOT,
    BootRecord,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Support,
)
from foothold_lab.harness.guests.vm_process import STRACE
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.container import ExecStream
from foothold_lab.harness.transport.frames import LostContactError
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.harness.transport.supervised import (
    WORKING_DIRECTORY,
    agent_argv,
    measured,
)
from foothold_lab.images import apt

REPOSITORY = "foothold-root"
LABEL = "org.foothold-lab.guest"


CAPABILITIES = Capabilities(own_kernel=False, unsupported_limits=HOST_LIMITS)


class Container:
    """A container without network, without capabilities, and without files of the host."""

    scale = 1.5
    capabilities = CAPABILITIES
    paths = GuestPaths(placement="copied")

    def __init__(self, name: str, config: GuestConfig) -> None:
        self.name = name
        self.boot_record = BootRecord()
        self._config = config
        self._client: Any = None
        self._container: Any = None
        self._attached: Any = None
        self._memory = 0
        self._copied: set[str] = set()
        self._directories = itertools.count(1)

    def supported(self) -> Support:
        """Docker needs an engine that answers, and the root file system."""
        import docker
        from docker.errors import DockerException

        if self._config.root == "host":
            return Support(False, NO_HOST_ROOT, LEAVE_ROOT)
        try:
            client = docker.from_env(timeout=10)
            try:
                client.ping()
            finally:
                client.close()
        except (DockerException, OSError) as error:
            return _why_no_engine(error)
        if not self._config.builder.ready("root") and (why := apt.unavailable_reason()):
            return Support(
                False,
                f"the root file system is not built, and cannot be built: {why}",
                "build the images on a Debian machine, or install apt",
            )
        return Support(True)

    def boot(self, deadline: Deadline) -> Facts:
        """Create and start the container, and measure its address space; see `Guest.boot`."""
        import docker
        from docker.errors import DockerException

        root = self._config.builder.image("root")
        try:
            self._client = docker.from_env(timeout=max(5, int(deadline.remaining)))
            image = self._image(root)
            settings = {
                "network_mode": "none", "cap_drop": ["ALL"], "auto_remove": True,
                "stdin_open": True,
                "security_opt": ["no-new-privileges"], "labels": {LABEL: self.name},
                "tmpfs": {"/tmp": "mode=1777,exec"}, "pids_limit": 4096,
                "mounts": [
                    docker.types.Mount(str(path), str(path), type="bind", read_only=True)
                    for path in self._config.image_paths()
                ],
            }  # fmt: skip
            if directory := self._config.host_directory:
                settings["volumes"] = {str(directory): {"bind": HOST_DIRECTORY, "mode": "ro"}}
            self.boot_record.argv = (AGENT, "idle")
            self._container = self._client.containers.create(
                image, list(self.boot_record.argv), **settings
            )
            self._container.put_archive("/share", _tar_of(self._config.share))
            self._attached = self._client.api.attach_socket(
                self._container.id, params={"stdin": 1, "stream": 1}
            )
            self._container.start()
            self.boot_record.provenance.update(
                {
                    "engine": self._client.version()["Version"],
                    "image": image,
                    "container": self._container.short_id,
                    "root": root.name,
                }
            )
            facts = self._measure(deadline)
            self._memory = facts.memory
            return facts
        except (DockerException, OSError) as error:
            if "bind source path does not exist" in str(error):
                raise UnsupportedError(
                    "the Docker engine does not see the files of this machine, so it cannot show an image",
                    "use an engine that runs on this machine",
                ) from error
            raise GuestError(
                f"the Docker engine refuses: {error}",
                "read the log of the engine",
                code=Code.GUEST_BOOT,
            ) from error

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`."""
        from docker.errors import DockerException

        if how.user:
            raise UnsupportedError(
                "the container has no right to change the user",
                "take a UML or QEMU guest, or native",
                code=Code.UNSUPPORTED_SUBJECT,
            )
        own = replace(limits, memory=None)  # the engine has made a cgroup
        try:
            if limits.memory is not None:
                self._limit_memory(limits.memory)
            command = agent_argv(AGENT, own, argv, self._prepare(how), STRACE)
            stream = ExecStream(self._client.api, self._container.id, command)
        except (DockerException, OSError) as error:
            what = f"the container takes no more programs: {error}"
            raise GuestError(what, code=Code.GUEST_DIED) from error
        try:
            yield stream
        except LostContactError as error:
            died = GuestError(
                f"the container went away under the subject: {error}",
                code=Code.GUEST_DIED,
                console=self.diagnose(),
            )
            died.record = error.record
            raise died from error
        finally:
            stream.close()
            if limits.memory is not None:
                # an engine cannot remove a limit: the memory of the machine is as good as none
                with contextlib.suppress(DockerException, OSError):
                    self._limit_memory(self._memory)

    def _prepare(self, how: Supervision) -> Supervision:
        """Copy the files of a subject to their own paths, once, and choose a working directory."""
        if how.overlay and how.overlay not in self._copied:
            # not by an archive of the engine: it would miss the file system on /tmp
            copy = ["/bin/busybox", "cp", "-a", "-f", f"{how.overlay}/.", "/"]
            code, output = self._container.exec_run(copy)
            if code:
                why = output.decode(errors="replace").strip()
                what = f"the files of the subject cannot be copied: {why}"
                raise GuestError(what, code=Code.GUEST_FILES)
            self._copied.add(how.overlay)
        how = replace(how, overlay="", own_root=False)
        if not how.fresh_directory:
            return how
        return replace(how, directory=f"{WORKING_DIRECTORY}-{next(self._directories)}")

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`."""
        place = Path(target)
        self._container.put_archive(str(place.parent), _tar_of(source, place.name))

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`."""
        stream, _ = self._container.get_archive(source)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            # names in an archive of a guest are not trusted: only the bytes of one file are used
            for member in archive:
                if member.isfile() and (file := archive.extractfile(member)):
                    target.write_bytes(file.read())
                    return
        raise GuestError(f"{source} is not a file in the container", code=Code.GUEST_FILES)

    def diagnose(self) -> str:
        """Return what the container printed last."""
        from docker.errors import DockerException

        with contextlib.suppress(DockerException, OSError, AttributeError):
            return str(self._container.logs(tail=20).decode(errors="replace"))
        return ""

    def stop(self) -> None:
        """Remove the container."""
        from docker.errors import DockerException

        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(DockerException, OSError):
                container.remove(force=True)
        if self._attached is not None:
            with contextlib.suppress(OSError):
                self._attached.close()
            self._attached = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def _image(self, root: Path) -> str:
        """Return the image of our root, importing it if the engine does not have it yet."""
        tag = root.name.rpartition("-")[2]
        name = f"{REPOSITORY}:{tag}"
        if not self._client.images.list(name=name):
            self._client.api.import_image_from_data(
                _tar_of(root, "."), repository=REPOSITORY, tag=tag
            )
        return name

    def _limit_memory(self, size: int) -> None:
        """Set the limit of the container's cgroup, without swap."""
        self._container.update(mem_limit=size, memswap_limit=size)

    def _measure(self, deadline: Deadline) -> Facts:
        stream = ExecStream(self._client.api, self._container.id, [AGENT, "facts"])
        try:
            return measured(stream, deadline)
        except GuestError as error:
            raise GuestError(
                str(error), error.remedy, code=error.code, console=self.diagnose()
            ) from None
        finally:
            stream.close()


def _why_no_engine(error: Exception) -> Support:
    text = str(error)
    if "Permission denied" in text or isinstance(error, PermissionError):
        return Support(
            False,
            "the Docker engine is there but refuses this user",
            "add the user to the group docker, or run as root",
        )
    return Support(
        False,
        "no Docker engine answers",
        "install and start one: `apt-get install docker.io`, then `dockerd` as root",
    )


def _tar_of(path: Path, name: str = ".") -> bytes:
    """Pack a file or a directory's contents, owned by root."""
    buffer = io.BytesIO()

    def by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(path, name, filter=by_root)
    return buffer.getvalue()
