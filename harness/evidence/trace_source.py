"""Who can tell of a program beside itself: strace, or the emulator that ran it; and the kernel.

Either way there are its calls, and its maps.
"""

from __future__ import annotations

from dataclasses import dataclass

from foothold_lab.harness.evidence import emulator, strace
from foothold_lab.harness.evidence.maps import Mapping, parse_maps
from foothold_lab.harness.evidence.strace import Story
from foothold_lab.harness.model.record import Record


@dataclass(frozen=True)
class Calls:
    """A program's calls. `doubts` say what speaks against who wrote them down, `said` is what that
    complained of itself. If they are not `whole`, some are missing or have another's answer, so
    that nothing can be held against them.
    """

    story: Story
    doubts: tuple[str, ...]
    said: tuple[str, ...] = ()
    whole: bool = True


class Accounts:
    """The accounts that there are of one program, beside its own."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._log = None if record.emulator is None else emulator.read_log(record.emulator)

    def calls(self) -> Calls | None:
        """Return its calls; None if nobody was asked to trace it."""
        record = self._record
        if record.trace is None:
            return None
        if self._log:
            story = emulator.story_of(self._log, record.pid)
            against = emulator.doubts(story, record.ending)
            return Calls(story, tuple(against), whole=not story.threads)
        trace = strace.parse_trace(record.trace)
        story = strace.story_of(trace, record.pid)
        return Calls(story, tuple(strace.doubts(trace, story, record.ending)), trace.said)

    def maps(self, moment: str) -> tuple[Mapping, ...]:
        """Return what was mapped at a moment that there are maps of. Raises MapsError."""
        if self._log:
            return emulator.maps_at(self._record, self._log, moment)
        return parse_maps(self._record.maps[moment])
