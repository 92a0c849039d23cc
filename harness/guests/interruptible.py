"""A guest whose programs are ended as soon as their results are not needed any longer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from foothold_lab.harness.guests.base import Guest
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import InfrastructureError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.stream import Stream

POLL_SECONDS = 0.03  # between two questions whether the program is still needed


class InterruptibleGuest:
    """A guest, the same but for `open`: what its streams receive ends when `is_ended` is true."""

    def __init__(self, guest: Guest, is_ended: Callable[[], bool]) -> None:
        self._guest = self.unwrapped(guest)
        self._is_ended = is_ended

    @staticmethod
    def unwrapped(guest: object) -> Guest:
        """Return the guest itself."""
        return guest._guest if isinstance(guest, InterruptibleGuest) else cast("Guest", guest)

    def as_guest(self) -> Guest:
        """Return this as what it is: its other members are those of the guest."""
        return cast("Guest", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`."""
        with self._guest.open(argv, limits, deadline, how) as stream:
            yield cast("Stream", _InterruptibleStream(stream, self._is_ended))


class _InterruptibleStream:
    def __init__(self, stream: Stream, is_ended: Callable[[], bool]) -> None:
        self._stream = stream
        self._is_ended = is_ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def receive(self, deadline: Deadline) -> bytes:
        """Return some bytes, none at the end. Raises InfrastructureError if it has been ended."""
        while True:
            if self._is_ended():
                raise InfrastructureError(
                    "the run is being stopped", code=Code.INFRASTRUCTURE_STOPPED
                )
            try:
                return self._stream.receive(Deadline.after(min(POLL_SECONDS, deadline.remaining)))
            except TimeoutError:
                if deadline.expired:
                    raise
