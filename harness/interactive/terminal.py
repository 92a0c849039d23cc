"""Connects this terminal with a program in a guest: raw mode, resizing, and restoring it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.record import Ending, Window
from foothold_lab.harness.transport.conversation import Conversation, Output

LEAVE = (
    b"\x1d\x1d\x1d"  # Ctrl-] three times within LEAVE_SECONDS: the way out of a guest that hangs
)
LEAVE_SECONDS = 1.0
_WAIT_SECONDS = 3600.0  # seconds of one wait for output; then it waits again


@dataclass(frozen=True)
class Streams:
    """The standard descriptors of this process."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2

    @property
    def interactive(self) -> bool:
        """Are input and output a terminal?"""
        return os.isatty(self.stdin) and os.isatty(self.stdout)

    @property
    def window(self) -> Window | None:
        """The size of the terminal, None without a terminal."""
        if not self.interactive:
            return None
        size = os.get_terminal_size(self.stdout)
        # a terminal that does not know its size says 0
        return Window(size.lines or 24, size.columns or 80)


def relay(conversation: Conversation, streams: Streams) -> int:
    """Connect these streams with a program until it ends; return its status, as a shell would.

    On a terminal every key goes to the program, Ctrl-C as well; Ctrl-] three times leaves it
    (KeyboardInterrupt). Raises LostContactError, SubjectError.
    """
    with contextlib.ExitStack() as stack:
        if streams.interactive:
            stack.enter_context(_raw(streams.stdin))
        stack.enter_context(_forwarded_input(conversation, streams))
        while True:
            with contextlib.suppress(TimeoutError):
                heard = conversation.receive(Deadline.after(_WAIT_SECONDS))
                if isinstance(heard, Ending):
                    return 128 + heard.signal if heard.signal else heard.status
                _write(heard, streams)


def _write(output: Output, streams: Streams) -> None:
    data = memoryview(output.data)
    target = streams.stdout if output.stream == "out" else streams.stderr
    while data:
        data = data[os.write(target, data) :]


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Put the terminal into raw mode, and restore its settings afterwards."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _forwarded_input(conversation: Conversation, streams: Streams) -> Iterator[None]:
    """Pass on keys and sizes from a thread of their own."""
    reading, waking = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    # the signal itself is seen by the main thread: its number wakes the other one through the pipe
    resized = signal.signal(signal.SIGWINCH, lambda *_: None) if streams.interactive else None
    woken = signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    thread = threading.Thread(
        target=_forward_input, args=(conversation, streams, reading), name="keyboard", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        if resized is not None:
            signal.signal(signal.SIGWINCH, resized)
        os.close(waking)  # the end of the pipe ends the thread
        thread.join(1)
        if not thread.is_alive():
            os.close(reading)


def _forward_input(conversation: Conversation, streams: Streams, waking: int) -> None:
    """Forward keys and window sizes. A lost connection is reported by the thread that reads."""
    watched = [streams.stdin, waking]
    leave = _Leave()
    with contextlib.suppress(OSError):
        while True:
            ready, _, _ = select.select(watched, [], [])
            if waking in ready:
                woken = os.read(waking, 64)
                if not woken:
                    return
                if signal.SIGWINCH in woken and (window := streams.window):
                    conversation.resize(window)
            if streams.stdin in ready:
                data = os.read(streams.stdin, 4096)
                if not data:
                    watched.remove(streams.stdin)
                    conversation.close_input()
                elif streams.interactive and leave.wanted(data):
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    return
                else:
                    conversation.send(data)


class _Leave:
    """Sees the keys that lead out."""

    def __init__(self) -> None:
        self._keys = b""
        self._since = 0.0

    def wanted(self, data: bytes) -> bool:
        """Have the keys just been typed, in time?"""
        if time.monotonic() > self._since + LEAVE_SECONDS:
            self._keys, self._since = b"", time.monotonic()
        self._keys = (self._keys + data)[-len(LEAVE) :]
        return self._keys == LEAVE
