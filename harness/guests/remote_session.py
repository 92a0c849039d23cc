"""The conversation with `agent session` on a machine that is reached by SSH: images/agent/session.h.

It makes files there. Both ends send something every few seconds, so that each knows when the line is
dead, also if no end of the connection is seen.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import FootholdError, GuestError, SubjectError
from foothold_lab.harness.model.escape import escape_line
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport.frames import (
    FrameKind,
    Frames,
    LostContactError,
    frame,
    new_key,
)
from foothold_lab.harness.transport.ssh import Ssh, SshStream

BEAT = 5.0  # seconds between two signs of life
SILENCE = 20  # seconds without a sign of life after which an end takes the other one for gone
CHUNK = 60_000  # bytes of a file in a frame; the agent reads up to 65,531
MOST_COMPLAINT = 4 << 10  # bytes of an answer that are read


class RemoteSession:
    """A session that has said that it is ready. `dead` says why its connection was given up."""

    def __init__(self, ssh: Ssh, stream: SshStream, deadline: Deadline) -> None:
        self.dead = ""
        self._ssh = ssh
        self._stream = stream
        self._guard = threading.Lock()
        self._asked = self._answered = 0
        self._complaint = ""
        self._ended = threading.Event()
        self._frames = Frames(key := new_key())
        stream.send(frame(FrameKind.KEY, key), deadline)
        threading.Thread(target=self._beat, name="ssh signs of life", daemon=True).start()

    def make_files(self, frames: Iterable[bytes], deadline: Deadline) -> str:
        """Send frames that make files. Returns what failed; empty: nothing.

        Raises OSError if the line breaks, GuestError for an answer that the session does not give.
        """
        with self._guard:
            for each in frames:
                self._stream.send(each, deadline)
            self._ask(deadline)
            self._receive_answers(deadline)
            complaint, self._complaint = self._complaint, ""
        return complaint

    def close(self, seconds: float) -> bool:
        """End it, and wait at most so long. Returns whether it has removed its directory."""
        self._ended.set()
        self._stream.close(seconds)
        return self._stream.clean

    def _beat(self) -> None:
        """Give signs of life, and wait for some: without them the line is dead."""
        while not self._ended.wait(BEAT):
            try:
                with self._guard:
                    self._ask(Deadline.after(SILENCE))
                    self._receive_answers(Deadline.after(BEAT))
            except TimeoutError:  # a slow line carries something else meanwhile
                if self._ssh.silence > SILENCE and not self._ended.is_set():
                    self.dead = f"that machine has not answered for {SILENCE} s"
                    self._ssh.close()
                    return
            except (OSError, FootholdError):
                return  # the next program there says so

    def _ask(self, deadline: Deadline) -> None:
        self._stream.send(frame(FrameKind.SYNC), deadline)
        self._asked += 1

    def _receive_answers(self, deadline: Deadline) -> None:
        """Wait until all that was asked is answered: all before it is done then."""
        while self._answered < self._asked:
            data = self._stream.receive(deadline)
            if not data:
                raise OSError(self._stream.complaint() or "its agent has ended")
            try:
                for kind, payload in self._frames.take(data):
                    self._answered += kind is FrameKind.SYNC
                    text = payload[:MOST_COMPLAINT].decode(errors="replace")
                    self._complaint = self._complaint or text
            except (LostContactError, SubjectError) as error:
                what = f"its session cannot be understood: {escape_line(str(error))}"
                raise GuestError(what, code=Code.GUEST_PROTOCOL) from error


def frames_of(path: Path, name: str) -> Iterator[bytes]:
    """Yield the frames that make a directory, link or file: images/agent/placement.h."""
    status = path.lstat()
    entry = f"{status.st_mode:o} ".encode() + os.fsencode(name) + b"\0"
    if path.is_symlink():
        yield frame(FrameKind.ENTRY, entry + os.fsencode(path.readlink()))
        return
    yield frame(FrameKind.ENTRY, entry)
    if stat.S_ISREG(status.st_mode):
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield frame(FrameKind.CONTENT, data)
