"""Snapshots of QEMU guests, which were booted until they waited for their boot payload.

The memory of the guest is a file. It is not part of the migration stream (`x-ignore-shared`): a
restored guest maps it privately. A snapshot therefore never changes, any number of guests can be
restored from it at once, and only pages that they touch are read. What must differ between guests
comes with the boot payload: images/agent/boot_payload.c.

Source: docs/devel/migration.rst and qapi/migration.json of QEMU.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code

_LONGEST = 1 << 16  # bytes of one answer of the monitor
_CAPABILITIES = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]


@dataclass(frozen=True)
class Snapshot:
    """A saved guest: a file of its memory, and one of the state of its devices."""

    directory: Path

    @property
    def memory(self) -> Path:
        """The memory, a sparse file of its size."""
        return self.directory / "memory"

    @property
    def state(self) -> Path:
        """The migration stream of QEMU: everything else."""
        return self.directory / "state"

    def to_save(self, mebibytes: int, monitor: int) -> tuple[str, ...]:
        """Return the options of a guest that is to be saved; `monitor` is the descriptor of a socket."""
        return _options(self.memory, mebibytes, monitor, "on")

    def to_restore(self, mebibytes: int, monitor: int, memory: Path) -> tuple[str, ...]:
        """Return the options of a guest that is restored when the monitor commands it. `memory` is
        from `readable_memory`.
        """
        return (*_options(memory, mebibytes, monitor, "off"), "-incoming", "defer")

    @contextlib.contextmanager
    def readable_memory(self) -> Iterator[tuple[Path, tuple[int, ...]]]:
        """Yield a path of the memory, and the descriptors that QEMU needs to open it.

        QEMU opens the file for writing, although it maps it privately. A user of a store that is
        read-only gets a copy in the memory of the host, which has the size of the data, not of the
        file.
        """
        try:
            os.close(os.open(self.memory, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
        else:
            yield self.memory, ()
            return
        with self.memory.open("rb") as file, _memory_file() as copy:
            _copy_data(file.fileno(), copy.fileno())
            yield Path(f"/proc/self/fd/{copy.fileno()}"), (copy.fileno(),)


def _options(memory: Path, mebibytes: int, monitor: int, shared: str) -> tuple[str, ...]:
    file = f"memory-backend-file,id=memory,size={mebibytes}M,mem-path={memory}"
    return (
        "-object", f"{file},share={shared}", "-machine", "memory-backend=memory",
        "-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control",
    )  # fmt: skip


def _memory_file() -> BinaryIO:
    return os.fdopen(os.memfd_create("snapshot", os.MFD_CLOEXEC), "wb")


def _copy_data(source: int, target: int) -> None:
    """Copy a sparse file with its holes; lseek(2)."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    end = 0
    while True:
        try:
            begin = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data after this
                return
            raise
        end = os.lseek(source, begin, os.SEEK_HOLE)
        os.lseek(target, begin, os.SEEK_SET)
        while begin < end:
            begin += os.sendfile(target, source, begin, end - begin)


def key(argv: Sequence[str]) -> str:
    """Hash a command line. Its paths contain hashes of the files that they name."""
    return hashlib.sha256(json.dumps(list(argv)).encode()).hexdigest()


class Monitor:
    """The machine protocol of QEMU over a socket pair (docs/interop/qmp-spec of QEMU)."""

    def __init__(self, ours: socket.socket, deadline: Deadline) -> None:
        self._socket = ours
        self._deadline = deadline
        self._seen = b""
        self._message()  # its greeting
        self._command("qmp_capabilities")
        self._command("migrate-set-capabilities", {"capabilities": _CAPABILITIES})

    def save(self, descriptor: int) -> None:
        """Write the state of the guest into an open file. Raises GuestError.

        The guest must be running: a guest that is saved while it is stopped is restored stopped.
        """
        self._pass_descriptor(descriptor)
        self._command("migrate", {"uri": "fd:state"})
        self._completed()

    def restore(self, descriptor: int) -> None:
        """Read the state from an open file; the guest runs afterwards. Raises GuestError."""
        self._pass_descriptor(descriptor)
        self._command("migrate-incoming", {"uri": "fd:state"})
        self._completed()

    def _pass_descriptor(self, descriptor: int) -> None:
        """Pass the descriptor to QEMU, under the name `state`."""
        self._command("getfd", {"fdname": "state"}, (descriptor,))

    def _completed(self) -> None:
        while True:
            message = self._message()
            status = message.get("data", {}).get("status")
            if message.get("event") == "MIGRATION" and status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise GuestError(f"QEMU's migration has {status}", code=Code.GUEST_SNAPSHOT)

    def _command(
        self,
        name: str,
        arguments: Mapping[str, object] | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        asked = {"execute": name, "arguments": arguments or {}}
        try:
            socket.send_fds(self._socket, [json.dumps(asked).encode() + b"\n"], descriptors)
        except OSError as error:
            raise GuestError(
                f"QEMU's monitor has ended: {error}", code=Code.GUEST_SNAPSHOT
            ) from error
        while True:
            message = self._message()
            if refusal := message.get("error"):
                raise GuestError(
                    f"QEMU refuses {name}: {refusal.get('desc')}", code=Code.GUEST_SNAPSHOT
                )
            if "return" in message:
                return

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._seen:
            self._socket.settimeout(max(self._deadline.remaining, 0.001))
            try:
                more = self._socket.recv(_LONGEST)
            except ConnectionError:
                more = b""
            except OSError as error:
                raise GuestError(
                    f"QEMU's monitor does not answer: {error}", code=Code.GUEST_SNAPSHOT
                ) from error
            if not more or len(self._seen) > _LONGEST:
                raise GuestError("QEMU's monitor has ended", code=Code.GUEST_SNAPSHOT)
            self._seen += more
        line, _, self._seen = self._seen.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise GuestError(
                f"QEMU's monitor says {line[:80]!r}", code=Code.GUEST_SNAPSHOT
            ) from error
        return message if isinstance(message, dict) else {}
