"""Write the events of a run: terminal, JSON, JUnit, GitHub, run directory."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from foothold_lab.harness.model.errors import FootholdError
from foothold_lab.harness.model.escape import escape_text
from foothold_lab.harness.model.events import AnyEvent


class Reporter(Protocol):
    """Receives the events of a run, from one thread at a time and in their order."""

    def __call__(self, event: AnyEvent) -> None:
        """Process an event."""

    def close(self) -> None:
        """Write what is still to be written. The run is over, finished or not."""


def _warn(text: str) -> None:
    with contextlib.suppress(OSError):  # nothing reads stderr
        sys.stderr.write(f"{escape_text(text)}\n")


class Bus:
    """Passes each event to every reporter, with the time of day.

    A reporter that raises is closed and removed with a warning, and the run continues without it.
    `warn` takes such a warning. `failed` counts these reporters.
    """

    def __init__(
        self, reporters: Sequence[Reporter], warn: Callable[[str], object] = _warn
    ) -> None:
        self.failed = 0
        self._reporters = list(reporters)
        self._warn = warn
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(self, event: AnyEvent) -> None:
        """Pass an event to all reporters. Safe from any thread."""
        with self._lock:
            event = msgspec.structs.replace(event, at=event.at or time.time())
            for reporter in list(self._reporters):
                try:
                    reporter(event)
                except Exception as error:
                    self._reporters.remove(reporter)
                    self._report_failure(reporter, error)
                    self._close(reporter)

    def add(self, reporter: Reporter) -> None:
        """Pass all later events to this reporter as well."""
        with self._lock:
            self._reporters.append(reporter)

    def close(self) -> None:
        """Close all reporters. An error of one becomes a warning."""
        with self._lock:
            while self._reporters:
                self._close(self._reporters.pop(0))

    def _close(self, reporter: Reporter) -> None:
        try:
            reporter.close()
        except Exception as error:
            self._report_failure(reporter, error)

    def _report_failure(self, reporter: Reporter, error: Exception) -> None:
        self.failed += 1
        if not isinstance(error, FootholdError):
            name, kind = type(reporter).__name__, type(error).__name__
            self._warn(f"foothold: {name} failed and was switched off: {kind}: {error}")
            return
        self._warn(f"foothold: {error}; the run continues without it")
        if error.remedy:
            self._warn(f"  remedy: {error.remedy}")
