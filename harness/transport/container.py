"""A program in a container, over the Docker engine's own exec."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from foothold_lab.harness.model.deadline import Deadline

if TYPE_CHECKING:
    import docker


class ExecStream:
    """A program in a container.

    The engine multiplexes its outputs over one connection: 8 bytes of head (1 stdout, 2 stderr; the
    length in big endian at 4), then that many bytes; Docker Engine API, "Attach to a container".
    """

    def __init__(
        self, api: docker.APIClient, container: str, argv: Sequence[str], user: str = ""
    ) -> None:
        created = api.exec_create(
            container, list(argv), stdin=True, stdout=True, stderr=True, user=user
        )
        wrapped = api.exec_start(created["Id"], socket=True)
        # the SDK wraps the socket in a file object; we want the socket itself
        self._wrapped = wrapped
        self._socket = cast("socket.socket", getattr(wrapped, "_sock", wrapped))
        self._buffer = bytearray(_already_read(wrapped, self._socket))
        self._stderr = bytearray()

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it."""
        self._socket.settimeout(deadline.socket_timeout)
        self._socket.sendall(data)

    def receive(self, deadline: Deadline) -> bytes:
        """Return some bytes of stdout, none at the end."""
        while True:
            while len(self._buffer) >= 8:
                (length,) = struct.unpack_from(">I", self._buffer, 4)
                if len(self._buffer) < 8 + length:
                    break
                kind, payload = self._buffer[0], bytes(self._buffer[8 : 8 + length])
                del self._buffer[: 8 + length]
                if kind == 1 and payload:
                    return payload
                self._stderr += payload[: 4096 - len(self._stderr)]
            ready, _, _ = select.select([self._socket], [], [], deadline.remaining)
            if not ready:
                raise TimeoutError
            data = self._socket.recv(65536)
            if not data:
                return b""
            self._buffer += data

    def complaint(self) -> str:
        """Return what the program said on stderr."""
        return bytes(self._stderr).decode(errors="replace").strip()

    def end(self, deadline: Deadline) -> bool:
        """Close its standard input, and read until it exits. Returns whether it has exited."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while self.receive(deadline):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass  # the engine has closed the connection
        return True

    def close(self) -> None:
        """Drop the connection: the program reads the end of its standard input."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._wrapped.close()
        self._socket.close()


def _already_read(wrapped: Any, connection: socket.socket) -> bytes:
    """Return what came with the head of the answer: http.client has read it into a buffer."""
    response = getattr(wrapped, "_response", None)
    if response is None:
        return b""
    file = response.raw._fp.fp
    connection.settimeout(0)  # nothing has come is an answer, too
    try:
        return bytes(file.peek())
    finally:
        connection.settimeout(None)
