"""The standard streams of the process: what to do if one is closed, or its reader has gone."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys


def replace_closed_streams() -> None:
    """Open /dev/null in place of standard streams that are closed (`foothold run >&-`).

    Otherwise the next file that is opened would take the descriptor, and Python leaves None in
    `sys.stdout`. Descriptors are opened in ascending order: open(2) returns the lowest free one.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def escape_unprintable() -> None:
    """Write a backslash escape for each character that the locale cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def was_stdout_closed() -> bool:
    """Was standard output closed when the process started?"""
    return sys.__stdout__ is None  # `replace_closed_streams` leaves it as it was


def is_broken() -> bool:
    """Has the reader of standard output or standard error closed its pipe?

    A terminal that was closed is not a pipe: SIGHUP tells about it.
    """
    return _has_event(select.POLLERR, terminals=False)


def is_closed_terminal(error: BaseException) -> bool:
    """Did a command write to a terminal that was closed? That gives EIO.

    SIGHUP comes only to the processes of the session that has the terminal.
    """
    is_input_output_error = isinstance(error, OSError) and error.errno == errno.EIO
    return is_input_output_error and _has_event(select.POLLHUP, terminals=True)


def _has_event(event: int, *, terminals: bool) -> bool:
    """Does poll(2) report the event for one of the output streams: terminals, or all others?"""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a stream of a test has no descriptor
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode) is terminals:
                poll.register(stream.fileno(), 0)
    return any(found & event for _, found in poll.poll(0))


def flush_output() -> None:
    """Flush both output streams; discard what cannot be written."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        discard_output()


def discard_output() -> None:
    """Send both output streams to /dev/null, so that flushing them at exit cannot fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(null, stream.fileno())
