"""Write the events of a run: terminal, JSON, JUnit, GitHub, run directory."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from foothold_lab.harness.model.errors import FootholdError
from foothold_lab.harness.model.events import AnyEvent


class Reporter(Protocol):
    """Whoever listens. Called by one thread at a time, in the order in which things happened."""

    def __call__(self, event: AnyEvent) -> None:
        """Take note of an event."""

    def close(self) -> None:
        """The run is over, finished or not: write what is still to be written."""


def _warn(text: str) -> None:
    sys.stderr.write(f"{text}\n")


class Bus:
    """Hands each event to every sink, one at a time, stamped with the time of day.

    A sink that raises is closed and dropped, with a note on stderr: the run goes on without it.
    `complain` takes that note; `failed` counts those sinks.
    """

    def __init__(self, sinks: Sequence[Reporter], warn: Callable[[str], object] = _warn) -> None:
        self.failed = 0
        self._sinks = list(sinks)
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
        """Tell all sinks. Safe from any thread."""
        with self._lock:
            event = msgspec.structs.replace(event, at=event.at or time.time())
            for sink in list(self._sinks):
                try:
                    sink(event)
                except Exception as error:
                    self._sinks.remove(sink)
                    self._drop(sink, error)
                    self._shut(sink)

    def add(self, sink: Reporter) -> None:
        """Let another one listen from now on."""
        with self._lock:
            self._sinks.append(sink)

    def close(self) -> None:
        """Close all sinks; what they raise is told and held against nobody."""
        with self._lock:
            while self._sinks:
                self._shut(self._sinks.pop(0))

    def _shut(self, sink: Reporter) -> None:
        try:
            sink.close()
        except Exception as error:
            self._drop(sink, error)

    def _drop(self, sink: Reporter, error: Exception) -> None:
        self.failed += 1
        known = isinstance(error, FootholdError)
        self._warn(
            f"foothold: {type(sink).__name__} fails and is left out from here on: "
            f"{'' if known else f'{type(error).__name__}: '}{error}"
        )
        if isinstance(error, FootholdError) and error.remedy:
            self._warn(f"  remedy: {error.remedy}")
