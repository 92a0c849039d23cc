"""Frames between us and `agent run`: images/agent/supervise.c.

One letter, a length of 4 bytes (little endian), that many bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MOST_FRAME = 16 << 20  # bytes; the agent sends no longer frame


class LostContactError(Exception):
    """The stream ended before the program did: its guest is dying, or the agent is."""


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """Return a frame as it is sent."""
    return kind + struct.pack("<I", len(payload)) + payload


class Frames:
    """Puts frames together from however their bytes arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return what has become whole, as (kind, payload).

        Raises LostContactError for a length that no agent of ours would send.
        """
        self._buffer += data
        while len(self._buffer) >= 5:
            (length,) = struct.unpack_from("<I", self._buffer, 1)
            if length > MOST_FRAME:
                raise LostContactError(f"a frame of {length} bytes: this is not our agent")
            if len(self._buffer) < 5 + length:
                return
            kind, payload = bytes(self._buffer[:1]), bytes(self._buffer[5 : 5 + length])
            del self._buffer[: 5 + length]
            yield kind, payload
