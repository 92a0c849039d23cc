"""Child processes that never outlive an interrupted build."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    argv: Sequence[str | Path],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    scratch: str | Path | None = None,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program without input and return its exit status and its output as text.

    `scratch` is a directory for its temporary files. Those of a program that is killed are removed
    with the directory.
    """
    if scratch is not None:
        env = {**(os.environ if env is None else env), "TMPDIR": str(scratch)}
    with started(
        argv,
        cwd=cwd,
        env=env,
        pass_fds=pass_fds,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
    ) as process:
        output, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@contextlib.contextmanager
def started(argv: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a process in a session of its own. Kill it and its children if the block raises, for
    instance KeyboardInterrupt. `options` are those of subprocess.Popen.
    """
    process: subprocess.Popen[Any] | None = None
    options = {"stdin": subprocess.DEVNULL, **options}
    if options.get("text"):  # messages may quote any file name
        options |= {"encoding": "utf-8", "errors": "replace"}
    try:
        with signals_deferred():
            process = subprocess.Popen(list(argv), start_new_session=True, **options)
        yield process
        _finish(process)
    except BaseException:
        if process and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _finish(process)
        raise


def _finish(process: subprocess.Popen[Any]) -> None:
    """Close the pipes of a process and wait for its end."""
    with process:
        pass


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Deliver signals after the block: an exception in the constructor of Popen, for instance, would
    lose the process. Only the main thread gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[tuple[int, FrameType | None]] = []
    handlers = {
        number: signal.signal(number, lambda number, frame: pending.append((number, frame)))
        for number in _SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught, _ in pending:
            signal.raise_signal(caught)
