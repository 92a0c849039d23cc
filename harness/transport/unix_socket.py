"""Sockets of unix(7) in directories: names that are short enough, and the process at the other end."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The process at the other end of a connection, and its user."""

    process: int
    user: int


@contextlib.contextmanager
def socket_path(directory: Path, name: str) -> Iterator[str]:
    """Yield a path of a socket in a directory that is short enough: unix(7) allows 107 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def peer_of(connection: socket.socket) -> Peer:
    """Return the process at the other end; SO_PEERCRED of unix(7)."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(data)
    return Peer(process=process, user=user)
