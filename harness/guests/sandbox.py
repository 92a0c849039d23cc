"""Sandboxes: a program of this machine starts each subject in a sandbox that ends with it.

The agent is the first process of the sandbox and supervises the subject there, as in a guest with a
kernel of its own. A keeper on the host ends all of it if the harness dies.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from foothold_lab.harness.guests.base import (
    AGENT,
    HOST_LIMITS_AND_CGROUPS,
    LEAVE_ROOT,
    NO_HOST_ROOT,
    BootRecord,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Placement,
    Support,
    image_support,
)
from foothold_lab.harness.guests.host_copy import copy_on_host
from foothold_lab.harness.guests.host_process import keep_supervisor
from foothold_lab.harness.guests.vm_process import STRACE
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.stream import PipeStream, Stream
from foothold_lab.harness.transport.supervised import agent_arguments, measured

ON_HOST_KERNEL = Capabilities(  # of a sandbox on the kernel of this machine
    own_kernel=False,
    shares_live=True,
    fresh=True,
    unsupported_limits=HOST_LIMITS_AND_CGROUPS,
)


@dataclass(frozen=True, kw_only=True)
class SandboxView:
    """What a sandbox shows of this machine, read-only, and where it keeps files of its own.

    root: the root file system. overlay: a tree of files of the subject, if the sandbox has to place
    them. shown: directories of this machine, by their paths in the sandbox. scratch: a directory
    that is removed with the guest.
    """

    root: Path
    overlay: Path | None
    shown: Mapping[str, Path]
    scratch: Path


class SandboxType(Protocol):
    """A program that starts another in a sandbox."""

    @property
    def images(self) -> tuple[str, ...]:
        """Images with the program, beside the root file system."""

    @property
    def capabilities(self) -> Capabilities:
        """What its guests can do."""

    @property
    def placement(self) -> Placement:
        """How the files of a subject get to their own paths: `merged` or `bound`."""

    @property
    def has_users(self) -> bool:
        """Can a program run as another user?"""

    @property
    def scale(self) -> float:
        """How many times slower than native it is expected to be."""

    def host_support(self) -> Support:
        """Say whether this machine can start such a sandbox; starts nothing."""

    def command(
        self, images: Mapping[str, Path], view: SandboxView, argv: Sequence[str]
    ) -> list[str]:
        """Return the command line on this machine that runs `argv` in a new sandbox."""


class Sandbox:
    """A sandbox for each run of a program: nothing boots, and nothing stays."""

    def __init__(self, name: str, sandbox_type: SandboxType, config: GuestConfig) -> None:
        self.name = name
        self.boot_record = BootRecord()
        self.capabilities = sandbox_type.capabilities
        self.scale = sandbox_type.scale
        self.paths = GuestPaths(placement=sandbox_type.placement)
        self._type = sandbox_type
        self._config = config
        self._scratch = ""

    def supported(self) -> Support:
        """It needs what its type needs, and its images, or what it takes to build them."""
        if self._config.root == "host":
            return Support(False, NO_HOST_ROOT, LEAVE_ROOT)
        if not (support := self._type.host_support()).ok:
            return support
        images = image_support(self._config.builder, ("root", *self._type.images))
        return support if images.ok else images

    def boot(self, deadline: Deadline) -> Facts:
        """Measure the address space of a program in a sandbox; see `Guest.boot`."""
        builder = self._config.builder
        # short: the sandbox may make sockets there, whose paths have at most 107 characters
        self._scratch = tempfile.mkdtemp(prefix="foothold-")
        self.boot_record.argv = tuple(self._command([AGENT, "facts"]))
        self.boot_record.provenance.update(
            {name: builder.image(name).name for name in ("root", *self._type.images)}
        )
        stream = PipeStream(self.boot_record.argv, keeper=(self._agent, "keep"))
        try:
            return measured(stream, deadline)
        except GuestError as error:
            why = stream.complaint() or str(error)
            raise GuestError(
                f"the sandbox does not start: {why}",
                code=Code.GUEST_BOOT,
                argv=self.boot_record.argv,
            ) from error
        finally:
            stream.close()

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`."""
        how = how.started_by(os.geteuid())
        if how.user and not self._type.has_users:
            raise UnsupportedError(
                f"{self.name} has no other users, and the program is to run as `{how.user}`",
                "take a UML or QEMU guest",
                code=Code.UNSUPPORTED_SUBJECT,
            )
        overlay = None
        if self.paths.placement == "bound":
            overlay = self._of_share(how.overlay) if how.overlay else None
            how = replace(how, overlay="", image="")
        arguments = agent_arguments(limits, argv, how, STRACE)
        command = self._command((AGENT, "run"), overlay)
        with keep_supervisor(self._agent, command, arguments) as stream:
            yield stream

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`. Raises UnsupportedError outside of the share."""
        copy_on_host(source, self._of_share(target))

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`. Raises UnsupportedError outside of the share."""
        shutil.copy2(self._of_share(source), target)

    def diagnose(self) -> str:
        """It has no console: a sandbox ends with its program."""
        return ""

    def stop(self) -> None:
        """Remove its files. No process of it runs."""
        scratch, self._scratch = self._scratch, ""
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)

    @property
    def _agent(self) -> str:
        return str(self._config.builder.image("agent") / "agent")

    def _command(self, argv: Sequence[str], overlay: Path | None = None) -> list[str]:
        if not self._scratch:  # another thread has stopped it: a relative path would be used
            raise GuestError(f"{self.name} has been stopped", code=Code.GUEST_DIED)
        config = self._config
        shown = {self.paths.share: config.share.absolute()}
        shown |= {str(path): path for path in config.image_paths()}
        if config.host_directory:
            shown["/host"] = config.host_directory
        view = SandboxView(
            root=config.builder.image("root"),
            overlay=overlay,
            shown=shown,
            scratch=Path(self._scratch),
        )
        images = {name: config.builder.image(name) for name in self._type.images}
        return self._type.command(images, view, argv)

    def _of_share(self, path: str) -> Path:
        if not path.startswith(f"{self.paths.share}/"):
            raise UnsupportedError(
                f"{path} does not outlive a program: each one gets a sandbox of its own",
                f"use a path below {self.paths.share}",
            )
        return self._config.share / path.removeprefix(f"{self.paths.share}/")
