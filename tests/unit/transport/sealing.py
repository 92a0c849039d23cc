"""Puts the seals of the agent on frames that tests write."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from foothold_lab.harness.transport.frames import KEY_SIZE, FrameKind, frame, seal

_HEAD = 5  # bytes


class Sealer:
    """Seals frames with the key that the harness has sent."""

    def __init__(self) -> None:
        self.key = b""
        self._count = 0

    def hear(self, data: bytes) -> bool:
        """Take the key if this is the frame that has it. Says whether it is."""
        if self.key or not data.startswith(FrameKind.KEY):
            return False
        self.key = data[_HEAD:]
        assert data == frame(FrameKind.KEY, self.key)
        assert len(self.key) == KEY_SIZE
        return True

    def seal(self, stream: bytes) -> bytes:
        """Seal all frames of a stream. What is not a whole frame stays as it is."""
        return b"".join(self._sealed(stream))

    def _sealed(self, stream: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(stream):
            whole = len(stream) - at >= _HEAD
            end = at + _HEAD + struct.unpack_from("<I", stream, at + 1)[0] if whole else 0
            if not whole or end > len(stream):
                yield stream[at:]
                return
            head, payload = stream[at : at + _HEAD], stream[at + _HEAD : end]
            yield head + seal(self.key, self._count, head, payload) + payload
            self._count, at = self._count + 1, end
