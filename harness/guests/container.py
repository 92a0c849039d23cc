"""Containers of the Docker engine of this machine, with the root file system of UML and QEMU.

A subject that brings files gets a container of its own, in which its files lie at their own paths:
they may replace libraries of the root file system, on which other programs depend.

PID 1 is the agent. It runs as long as this process is attached to its standard input: if this
process dies, the engine closes the attachment, and the container ends.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foothold_lab.harness.guests.accounts import Account, find_account
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
from foothold_lab.harness.guests.vm_process import AS_ANOTHER_USER, STRACE
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, SubjectError, UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.container import ExecStream
from foothold_lab.harness.transport.frames import LostContactError
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.harness.transport.supervised import agent_argv, measured
from foothold_lab.images import apt

PARTING = 10.0  # seconds for the agent to kill what it supervises and to exit
REPOSITORY = "foothold-root"
LABEL = "org.foothold-lab.guest"


CAPABILITIES = Capabilities(own_kernel=False, unsupported_limits=HOST_LIMITS)
_WORK = "/run/work"  # with a working directory for each run
_TOOLS = "/run/tools"  # the tracer with its libraries, where no file of a subject replaces them
_STRACE = f"{_TOOLS}/trace"
_COPY_TOOLS = f"""
set -e
mkdir {_TOOLS}
cp -a -L "$(readlink -f /lib64/ld-linux-x86-64.so.2)" {_TOOLS}/ld.so
cp -a /lib/*/*.so.* /bin/busybox {STRACE} {_TOOLS}
echo '#!{_TOOLS}/busybox sh
exec {_TOOLS}/ld.so --library-path {_TOOLS} {_TOOLS}/strace "$@"' > {_STRACE}
chmod 755 {_STRACE}
"""


@dataclass(frozen=True)
class _Running:
    """A container that runs, the socket that keeps it alive, and the path of strace in it."""

    container: Any
    attached: Any
    strace: str = STRACE


class Container:
    """Containers without network, without capabilities, and without files of the host."""

    scale = 1.5
    capabilities = CAPABILITIES
    paths = GuestPaths(placement="copied")

    def __init__(self, name: str, config: GuestConfig) -> None:
        self.name = name
        self.boot_record = BootRecord()
        self._config = config
        self._client: Any = None
        self._image_name = ""
        self._running: dict[str, _Running] = {}  # by the files that a subject brings; "": by none
        self._memory = 0
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
            self._image_name = self._image(root)
            self.boot_record.argv = (AGENT, "idle")
            main = self._start("")
            self.boot_record.provenance.update(
                {
                    "engine": self._client.version()["Version"],
                    "image": self._image_name,
                    "container": main.container.short_id,
                    "root": root.name,
                }
            )
            facts = self._measure(main, deadline)
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

        own = replace(limits, memory=None)  # the engine has made a cgroup
        try:
            running = self._running.get(how.overlay) or self._start(how.overlay)
            if limits.memory is not None:
                self._limit_memory(running, limits.memory)
            user, placed = self._place(running, how)
            command = agent_argv(AGENT, own, argv, placed, running.strace)
            stream = ExecStream(self._client.api, running.container.id, command, user)
        except (DockerException, OSError) as error:
            what = f"the container takes no more programs: {error}"
            raise GuestError(what, code=Code.GUEST_DIED) from error
        try:
            yield stream
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
            if limits.memory is not None:
                # an engine cannot remove a limit: the memory of the machine is as good as none
                with contextlib.suppress(DockerException, OSError):
                    self._limit_memory(running, self._memory)

    def _start(self, overlay: str) -> _Running:
        """Create and start a container, and copy the files of a subject to their own paths."""
        import docker

        settings = {
            "network_mode": "none", "cap_drop": ["ALL"], "auto_remove": True, "stdin_open": True,
            "security_opt": ["no-new-privileges"], "labels": {LABEL: self.name},
            "tmpfs": {"/tmp": "mode=1777,exec"}, "pids_limit": 4096,
            "mounts": [
                docker.types.Mount(str(path), str(path), type="bind", read_only=True)
                for path in self._config.image_paths()
            ],
        }  # fmt: skip
        if directory := self._config.host_directory:
            settings["volumes"] = {str(directory): {"bind": HOST_DIRECTORY, "mode": "ro"}}
        container = self._client.containers.create(self._image_name, [AGENT, "idle"], **settings)
        container.put_archive("/share", _tar_of(self._config.share))
        for path in (_WORK, "/var/tmp"):
            container.put_archive("/", _directory_for(Account(0, 0), path, 0o1777))
        attached = self._client.api.attach_socket(container.id, params={"stdin": 1, "stream": 1})
        container.start()
        running = _Running(container, attached)
        self._running[overlay] = running  # from here on stop() removes it
        if overlay:
            _execute(running, "/bin/busybox", "sh", "-c", _COPY_TOOLS)
            # not by an archive of the engine: it would miss the file system on /tmp
            _execute(running, "/bin/busybox", "cp", "-a", "-f", f"{overlay}/.", "/")
            # existing directories got the modes of those of the subject
            _execute(running, "/bin/busybox", "chmod", "1777", "/tmp", "/var/tmp")
            running = self._running[overlay] = replace(running, strace=_STRACE)
        return running

    def _place(self, running: _Running, how: Supervision) -> tuple[str, Supervision]:
        """Return the user of the engine's exec, and how the agent is to start a program as that user.

        The agent itself has no right to change the user, so the engine makes its directories.
        """
        account, user, environment = Account(0, 0), "", dict(how.environment)
        if how.user:
            account = find_account(self._of_share(how.overlay, "etc/passwd"), how.user)
            user = f"{account.uid}:{account.gid}"
        if account.name:
            names = {"HOME": account.home, "USER": account.name, "LOGNAME": account.name}
            environment = names | environment
            code, _ = running.container.exec_run(["/bin/busybox", "test", "-e", account.home])
            if code:
                running.container.put_archive("/", _directory_for(account, account.home, 0o700))
        how = replace(how, overlay="", own_root=False, user="", environment=environment)
        if not how.fresh_directory:
            return user, how
        work = f"{_WORK}/{next(self._directories)}"
        files = self._of_share(how.work_files) if how.work_files else None
        running.container.put_archive("/", _directory_for(account, work, 0o755, files))
        return user, replace(how, directory=work, fresh_directory=False, made_directory=True)

    def _of_share(self, path: str, name: str = "") -> Path:
        """Return the path on this machine of a path below the share of the container.

        `name` is a file below that path. If the share does not have it, return that of the image.
        """
        place = self._config.share / path.removeprefix(f"{self.paths.share}/") / name
        if name and not (path and place.is_file()):
            return self._config.builder.image("root") / name
        return place

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`."""
        place = Path(target)
        self._main.put_archive(str(place.parent), _tar_of(source, place.name))

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`."""
        stream, _ = self._main.get_archive(source)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            # names in an archive of a guest are not trusted: only the bytes of one file are used
            for member in archive:
                if member.isfile() and (file := archive.extractfile(member)):
                    target.write_bytes(file.read())
                    return
        raise GuestError(f"{source} is not a file in the container", code=Code.GUEST_FILES)

    def diagnose(self) -> str:
        """Return what the container printed last."""
        return "\n".join(filter(None, map(_last_lines, self._running.values())))

    def stop(self) -> None:
        """Remove the containers."""
        from docker.errors import DockerException

        running, self._running = self._running, {}
        for each in running.values():
            with contextlib.suppress(DockerException, OSError):
                each.container.remove(force=True)
            with contextlib.suppress(OSError):
                each.attached.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def _main(self) -> Any:
        """The container of programs that bring no files."""
        return self._running[""].container

    def _image(self, root: Path) -> str:
        """Return the image of our root, importing it if the engine does not have it yet."""
        tag = root.name.rpartition("-")[2]
        name = f"{REPOSITORY}:{tag}"
        if not self._client.images.list(name=name):
            self._client.api.import_image_from_data(
                _tar_of(root, "."), repository=REPOSITORY, tag=tag
            )
        return name

    def _limit_memory(self, running: _Running, size: int) -> None:
        """Set the limit of the cgroup of a container, without swap."""
        running.container.update(mem_limit=size, memswap_limit=size)

    def _measure(self, running: _Running, deadline: Deadline) -> Facts:
        stream = ExecStream(self._client.api, running.container.id, [AGENT, "facts"])
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


def _execute(running: _Running, *argv: str) -> None:
    """Run a program of the root file system. Raises GuestError if it fails."""
    code, output = running.container.exec_run(list(argv))
    if code:
        why = output.decode(errors="replace").strip()
        what = f"the files of the subject cannot be copied: {why}"
        raise GuestError(what, code=Code.GUEST_FILES)


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
        member.mode |= 0o555 if member.isdir() else 0
        return member

    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(path, name, filter=by_root)
    return buffer.getvalue()


def _directory_for(account: Account, path: str, mode: int, files: Path | None = None) -> bytes:
    """Pack a directory of a user at an absolute path, with copies of all below another."""
    buffer = io.BytesIO()

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid, member.uname, member.gname = account.uid, account.gid, "", ""
        return member

    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = owned(tarfile.TarInfo(path[1:]))
        member.type, member.mode = tarfile.DIRTYPE, mode
        archive.addfile(member)
        for each in sorted(files.iterdir()) if files else ():
            archive.add(each, f"{path[1:]}/{each.name}", filter=owned)
    return buffer.getvalue()
