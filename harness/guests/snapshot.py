"""Snapshots of QEMU guests: booted once to the point where they wait for their boot payload, and saved.

The guest's memory is a file, which is not written into the migration stream (`x-ignore-shared`) but
mapped by whoever goes on from it, privately: so a snapshot is never changed, any number of guests
may go on from it at once, and only what they touch is read. What must not be the same twice comes
with the boot payload: images/agent/boot_payload.c.

Source: docs/devel/migration.rst and qapi/migration.json of QEMU.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code

_LONGEST = 1 << 16  # bytes of one answer of the monitor
_CAPABILITIES = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]


@dataclass(frozen=True)
class Snapshot:
    """A saved guest: its memory, and the state of its devices."""

    directory: Path

    @property
    def memory(self) -> Path:
        """What it had in its memory, as a sparse file of that size."""
        return self.directory / "memory"

    @property
    def state(self) -> Path:
        """What QEMU says of everything else."""
        return self.directory / "state"

    def to_save(self, mebibytes: int, monitor: int) -> tuple[str, ...]:
        """The options by which a guest boots to be saved; `monitor` is a socket's descriptor."""
        return self._options(mebibytes, monitor, "on")

    def to_restore(self, mebibytes: int, monitor: int) -> tuple[str, ...]:
        """The options by which a guest goes on, as soon as the monitor says from what."""
        return (*self._options(mebibytes, monitor, "off"), "-incoming", "defer")

    def _options(self, mebibytes: int, monitor: int, shared: str) -> tuple[str, ...]:
        file = f"memory-backend-file,id=memory,size={mebibytes}M,mem-path={self.memory}"
        return (
            "-object", f"{file},share={shared}", "-machine", "memory-backend=memory",
            "-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control",
        )  # fmt: skip


def key(argv: Sequence[str]) -> str:
    """Hash a command line, whose paths name what they lead to by its contents."""
    return hashlib.sha256(json.dumps(list(argv)).encode()).hexdigest()


class Monitor:
    """QEMU's machine protocol over a socket that we made (docs/interop/qmp-spec of QEMU)."""

    def __init__(self, ours: socket.socket, deadline: Deadline) -> None:
        self._socket = ours
        self._deadline = deadline
        self._seen = b""
        self._message()  # its greeting
        self._command("qmp_capabilities")
        self._command("migrate-set-capabilities", {"capabilities": _CAPABILITIES})

    def save(self, descriptor: int) -> None:
        """Write the guest's state into a file that is open here. Raises GuestError.

        The guest must be running: what is saved while it is stopped is restored stopped.
        """
        self._hand_over(descriptor)
        self._command("migrate", {"uri": "fd:state"})
        self._completed()

    def restore(self, descriptor: int) -> None:
        """Read it from such a file, upon which the guest goes on. Raises GuestError."""
        self._hand_over(descriptor)
        self._command("migrate-incoming", {"uri": "fd:state"})
        self._completed()

    def _hand_over(self, descriptor: int) -> None:
        """Give QEMU the descriptor with the command that takes it, and a name, `state`."""
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
