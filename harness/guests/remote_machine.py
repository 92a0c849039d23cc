"""A machine of the user that is reached by SSH: a board, another laptop, a server, a phone.

Nothing is installed there. A directory for temporary files has the agent for that machine and the
files of subjects; it is gone at the end, also if the connection breaks or this process is killed.
Programs run there as the user who logs in, with the libraries of that machine. The agent traces them
itself, so that no strace is needed there.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foothold_lab.harness.guests.base import (
    BOOT_SECONDS,
    HOST_LIMITS,
    LEAVE_ROOT,
    NO_HOST_ROOT,
    BootRecord,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Support,
)
from foothold_lab.harness.guests.machine_probe import OLDEST_PYTHON, Machine
from foothold_lab.harness.guests.relocated_image import relocated_programs
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.model.ssh_address import SshAddress
from foothold_lab.harness.transport.frames import LostContactError
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.harness.transport.supervised import OWN_TRACER, agent_arguments, measured
from foothold_lab.images.debian_arch import PORTS, Port

if TYPE_CHECKING:
    from foothold_lab.harness.guests.remote_directory import RemoteDirectory
    from foothold_lab.harness.transport.ssh import Ssh

SHARE = "share"  # in the directory there
SLOWEST = 1 << 20  # bytes of an image that a line carries in a second, at least
_SETTING = "the settings of its kernel belong to the whole machine and are not changed"
CAPABILITIES = Capabilities(
    own_kernel=False,  # it is not ours: others may change its state
    shares_live=True,
    shows_directories=False,
    unsupported_limits={
        **dict.fromkeys(HOST_LIMITS, _SETTING),
        "memory": "its cgroups are not changed",
        "exec_refused": "its mounts are not changed",
    },
)
_AS_USER = "log in as that user: ssh:USER@HOST"


class RemoteMachine:
    """A machine as a guest: to boot it is to log in, and to bring the agent there."""

    scale = 1.5
    capabilities = CAPABILITIES

    def __init__(self, name: str, address: SshAddress, config: GuestConfig) -> None:
        self.name = name
        self.boot_record = BootRecord()
        self.paths = GuestPaths(python="", agent="", placement="uploaded")
        self._address = address
        self._config = config
        self._stack = contextlib.ExitStack()
        self._ssh: Ssh | None = None
        self._directory: RemoteDirectory | None = None
        self._runs = itertools.count(1)
        self._user_id = 0

    def supported(self) -> Support:
        """Whether it can be reached is known when it is booted."""
        if self._config.root == "host":
            return Support(False, NO_HOST_ROOT, LEAVE_ROOT)
        return Support(True)

    def boot(self, deadline: Deadline) -> Facts:
        """Log in, bring the agent there, and measure; see `Guest.boot`.

        Raises InfrastructureError if it cannot be reached, UnsupportedError if no agent is made for
        it or no directory there can be used.
        """
        # they import paramiko, which takes 0.1 s
        from foothold_lab.harness.guests.remote_directory import RemoteDirectory
        from foothold_lab.harness.transport.ssh_login import log_in

        allowed = deadline.remaining
        try:
            self._ssh = self._stack.enter_context(log_in(self._address, deadline))
            directory = RemoteDirectory(self._ssh, self.name, self._agent_for, deadline)
        except BaseException:
            self._stack.close()
            raise
        self._directory = directory
        self._stack.callback(directory.close)
        self._record(directory.machine)
        self.paths = GuestPaths(
            share=f"{directory.path}/{SHARE}",
            python=directory.machine.python,
            agent=directory.agent,
            placement="uploaded",
            images=directory.path,
        )
        self._place_images(directory)
        deadline = Deadline.after(allowed)  # see RemoteDirectory
        directory.place(self._config.share, SHARE, deadline)
        with directory.run(("facts",), deadline) as stream:
            return measured(stream, deadline)

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`. Raises InfrastructureError if the connection is broken."""
        directory = self._booted()
        self._check(argv, how)
        directory.place(self._config.share, SHARE, deadline)
        how = replace(how, own_root=False, overlay="", image="", user="")
        work, files = "", ""
        if how.fresh_directory:
            work, files = f"work-{next(self._runs)}", how.work_files
            place = f"{directory.path}/{work}"
            how = replace(how, directory=place, fresh_directory=False, made_directory=True)
        command = ("run", *agent_arguments(limits, argv, how, OWN_TRACER))
        with directory.run(command, deadline, work=work, files=files) as stream:
            try:
                yield stream
            except LostContactError as error:
                died = directory.lost(str(error))
                died.record = error.record
                raise died from error

    def push(self, source: Path, target: str) -> None:
        """Copy a file or a directory there by SFTP."""
        assert self._ssh, "boot first"
        self._ssh.push(source, target)

    def pull(self, source: str, target: Path) -> None:
        """Copy a file from there by SFTP."""
        assert self._ssh, "boot first"
        self._ssh.pull(source, target)

    def diagnose(self) -> str:
        """It has no console that we may read."""
        return ""

    def stop(self) -> None:
        """End what runs there, remove the directory, and log out."""
        self._stack.close()

    def _booted(self) -> RemoteDirectory:
        assert self._directory, "boot first"
        return self._directory

    def _place_images(self, directory: RemoteDirectory) -> None:
        """Copy the images of packaged runtimes there."""
        for image in self._config.image_paths():
            size = sum(each.lstat().st_size for each in image.rglob("*"))
            with tempfile.TemporaryDirectory(dir=self._config.directory) as scratch:
                place = f"{self.paths.images}/{image.name}"
                changed = relocated_programs(image, place, Path(scratch))
                deadline = Deadline.after(BOOT_SECONDS + size / SLOWEST)
                directory.place(image, image.name, deadline, changed)

    def _check(self, argv: Sequence[str], how: Supervision) -> None:
        """Raise UnsupportedError for a program that cannot run there."""
        if not argv[0]:
            raise UnsupportedError(
                f"there is no Python 3.{OLDEST_PYTHON} or newer there, which the allocator needs",
                "install it there, or run a program as subject",
                code=Code.UNSUPPORTED_SUBJECT,
            )
        if how.started_by(self._user_id).user:
            raise UnsupportedError(
                f"a program runs there as the user who logs in, not as {how.user}",
                _AS_USER,
                code=Code.UNSUPPORTED_SUBJECT,
            )

    def _record(self, machine: Machine) -> None:
        self._user_id = machine.user_id
        ports = [_port(each) for each in machines_of(machine)]
        self.boot_record.argv = self._address.ssh_command
        self.boot_record.machines = tuple(port.machine for port in ports if port)
        self.boot_record.provenance.update(
            {
                "machine": str(self._address),
                "kernel": machine.kernel,
                "directory": machine.directory,
                "agent": self._agent_for(machine).parent.name,
            }
        )

    def _agent_for(self, machine: Machine) -> Path:
        """Return the agent for the user space of a machine, else for its kernel."""
        for name in machines_of(machine):
            if port := _port(name):
                return self._config.builder.image(port.image("agent")) / "agent"
        known = ", ".join(port.machine for port in PORTS.values())
        raise UnsupportedError(
            f"{self.name} is a {machine.kernel_machine}, and there is no agent for it",
            f"take a machine of one of these kinds: {known}",
        )


def machines_of(machine: Machine) -> tuple[str, ...]:
    """Return the machines whose programs it runs, that of its user space first."""
    kernel = machine.kernel_machine
    if re.fullmatch(r"i[3-6]86", kernel):
        kernel = "i386"
    elif re.fullmatch(r"armv[6-8]\w*", kernel):
        kernel = "arm"
    return tuple(dict.fromkeys(filter(None, (machine.user_machine, kernel))))


def _port(machine: str) -> Port | None:
    return next((port for port in PORTS.values() if port.machine == machine), None)
