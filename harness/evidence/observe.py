"""Joining the witnesses: where two of them disagree, both are named and quoted."""

from __future__ import annotations

from foothold_lab.harness.evidence.allocator_report import (
    Broken,
    End,
    Exit,
    Report,
    Reserved,
    Start,
    Throw,
    Workload,
    read_report,
)
from foothold_lab.harness.evidence.arena_detection import ARENA, HINTS, Sighting, sight
from foothold_lab.harness.evidence.crosscheck import compare, match
from foothold_lab.harness.evidence.maps import Mapping, MapsError, is_usable
from foothold_lab.harness.evidence.trace_source import Accounts
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.ledger import FIXED, Account, settle
from foothold_lab.harness.model.record import Record
from foothold_lab.harness.model.verdict import Observation, Outcome, ReservationPath

LONGEST_MESSAGE = 500  # characters
MOST_TOLD = 3  # reservations in a line of evidence
MOMENTS = ("reserved", "end")


def observe(record: Record, cell: Cell | None = None, pointers: int = 8) -> Observation:
    """Join the subject's report, the kernel's maps, the traced calls and the way it ended.

    With `cell`, the report must also be about what the cell asked for; without, it was a policy of
    2012. `pointers` is their size in the guest, in bytes. Never raises: what cannot be understood
    is a contradiction in words.
    """
    return _Inquiry(record, cell, pointers).observation()


class _Inquiry:
    """One record, looked at from all sides; `_against` collects the contradictions."""

    def __init__(self, record: Record, cell: Cell | None, pointers: int) -> None:
        self._record = record
        self._cell = cell
        self._policy = cell.policy if cell else "after"
        self._pointers = pointers
        self._accounts = Accounts(record)
        self._report = read_report(record.stdout)
        self._message = _last_line(record.stderr)
        self._maps: dict[str, tuple[Mapping, ...]] = {}
        self._told: dict[str, str] = {}
        self._against: list[str] = list(self._report.problems)

    def observation(self) -> Observation:
        """Hear every witness, then say what happened."""
        for what in self._record.cut:
            self._against.append(f"the subject wrote more to {what} than is kept")
        self._read_maps()
        sightings = {
            moment: sight(maps, self._policy, self._pointers) for moment, maps in self._maps.items()
        }
        self._compare_start()
        self._compare_holds()
        self._compare_paths(sightings)
        self._compare_heap()
        self._compare_ending()
        self._compare_trace()
        path, outcome = self._path(sightings), self._outcome()
        ending = self._record.ending
        return Observation(
            path,
            outcome,
            ending.status,
            ending.signal,
            self._message if outcome is not Outcome.ALLOCATES else "",
            self._evidence(sightings),
            tuple(self._against),
        )

    def _read_maps(self) -> None:
        for moment in MOMENTS:
            if moment in self._record.maps:
                try:
                    self._maps[moment] = self._accounts.maps(moment)
                except MapsError as error:
                    self._against.append(f"the maps at {moment} cannot be read: {error}")

    def _compare_start(self) -> None:
        start = self._report.one(Start)
        if start is None:
            return
        told: list[tuple[str, object, object]] = [
            ("pid", start.pid, self._record.pid),
            ("kernel", start.kernel, "real"),
            ("pointer_size", start.pointer_size, self._pointers),
        ]
        if self._cell:
            told.append(("policy", start.policy, self._cell.policy))
            told.append(("workload", start.workload, self._cell.workload))
        for what, said, true in told:
            if said != true:
                self._against.append(f"the report says {what} {said}; it is {true}")

    def _compare_holds(self) -> None:
        for moment in self._report.holds:
            if moment not in self._record.maps:
                self._against.append(
                    f"the report says that it held at {moment}; there are no maps of that moment"
                )
        for moment in self._record.maps:
            if moment not in self._report.holds:
                self._against.append(
                    f"there are maps of the moment {moment}; the report says of no hold there"
                )
        for moment in self._report.claims:
            if moment not in self._report.holds:
                self._against.append(
                    f"the report says {moment} without a hold: no maps bear it out"
                )

    def _compare_paths(self, sightings: dict[str, Sighting]) -> None:
        for moment, said in self._report.claims.items():
            seen = sightings.get(moment)
            if seen is None:
                continue
            if said.path is not seen.path:
                self._against.append(
                    f"the report says {said.path}; the maps at {moment} show "
                    f"{seen.path or 'no such thing'}: {seen.line}"
                )
            elif seen.path is not ReservationPath.HIGH and isinstance(said, Reserved):
                if said.base != seen.base:
                    self._against.append(
                        f"the report says reserved at {said.base:#x}; the maps show {seen.line}"
                    )
            elif seen.path is ReservationPath.HIGH and said.arena_start != seen.base:
                self._against.append(
                    f"the report says that the arena starts at {said.arena_start:#x}; the maps "
                    f"show {seen.line}"
                )

    def _compare_heap(self) -> None:
        """Whether the heap that the report claims is memory that can be read and written."""
        for moment, said in self._report.claims.items():
            maps = self._maps.get(moment)
            if maps is None or said.path is ReservationPath.LOW_GROWN:
                continue  # low-grown: between two blocks lies what was never taken
            if said.arena_start >= said.arena_used:
                self._against.append(f"the report says of no heap at {moment}")
            elif not all(is_usable(maps, *piece) for piece in self._pieces(said)):
                self._against.append(
                    f"the report says of a heap {said.arena_start:#x}-{said.arena_used:#x}; "
                    f"the maps at {moment} do not show all of it readable and writable"
                )

    def _pieces(self, said: Reserved | End) -> list[tuple[int, int]]:
        """Where the heap must be: between the first and the last of many arenas may lie what was
        never to be had.
        """
        start, end = said.arena_start, said.arena_used
        if self._policy not in HINTS:
            return [(start, end)]
        return [(start, min(end, start + ARENA)), (max(start, (end - 1) // ARENA * ARENA), end)]

    def _compare_ending(self) -> None:
        ending, report = self._record.ending, self._report
        how = f"signal {ending.signal}" if ending.signal else f"status {ending.status}"
        death = report.one(Throw) or report.one(Exit)
        if death and (ending.signal or death.status != ending.status):
            self._against.append(f"the report says status {death.status}; it ended with {how}")
        if isinstance(death, Throw) and self._message != f"throw: {death.message}":
            self._against.append(
                f"the report says throw: {death.message}; the last line on stderr is "
                f"{self._message!r}"
            )
        if report.one(End) and (ending.signal or ending.status):
            self._against.append(f"the report says that it ended well; it ended with {how}")
        if broken := report.one(Broken):
            self._against.append(f"memory did not hold what was written to it: {broken.message}")
        if not death and not report.one(End) and not ending.signal and ending.status == 0:
            self._against.append("it ended with status 0; its report has no end")

    def _compare_trace(self) -> None:
        """Hold report and maps against the calls as strace saw them, if it did."""
        calls = self._accounts.calls()
        if calls is None:
            return
        story = calls.story
        self._told["trace"] = _traced(settle(story.steps))
        if calls.said:
            self._told["strace itself"] = "; ".join(calls.said)
        self._against += calls.doubts
        matching = match(self._report, story.steps)
        self._against += matching.against
        for moment, count in matching.moments.items():
            if moment in self._maps:
                account = settle(story.steps[:count])
                self._against += compare(account, self._maps[moment], moment)

    def _path(self, sightings: dict[str, Sighting]) -> ReservationPath | None:
        """What the maps showed last; refused if it died before there was anything to show."""
        for moment in reversed(MOMENTS):
            if moment in sightings:
                return sightings[moment].path
        report = self._report
        refused = (
            report.path is ReservationPath.REFUSED and not report.holds and not self._record.maps
        )
        return ReservationPath.REFUSED if refused else None

    def _outcome(self) -> Outcome | None:
        ending, report = self._record.ending, self._report
        if ending.signal or ending.status:
            return Outcome.DIES
        proven = report.one(Workload) and report.one(End) and "end" in self._maps
        return Outcome.ALLOCATES if proven and not self._against else None

    def _evidence(self, sightings: dict[str, Sighting]) -> dict[str, str]:
        evidence = {"report": _told(self._report)}
        for moment in MOMENTS:
            if moment in sightings:
                seen = sightings[moment]
                evidence[f"maps at {moment}"] = f"{seen.path or 'unclear'}: {seen.line}"
        if not sightings:
            evidence["maps"] = "none were read: the subject never held"
        evidence.update(self._told)
        ending = self._record.ending
        how = f"signal {ending.signal}" if ending.signal else f"status {ending.status}"
        evidence["ending"] = f"{how}; stderr ends: {self._message}" if self._message else how
        return evidence


def _told(report: Report) -> str:
    """The report in one line."""
    if end := report.one(End):
        heap = f"heap {end.arena_start:#x}-{end.arena_used:#x}"
        work = report.one(Workload)
        done = f", {work.small} small and {work.large} large blocks" if work else ""
        return f"{end.path}: {heap}{done}"
    if broken := report.one(Broken):
        return f"broken: {broken.message}"
    if death := report.one(Throw) or report.one(Exit):
        return f"{report.path}: died, status {death.status}: {death.message}"
    return f"{report.path or 'nothing'}, and no end"


def _traced(account: Account) -> str:
    """The reservations that matter, in one line."""
    telling = [str(each) for each in account.ledger if each.tells and not each.flags & FIXED]
    if (more := len(telling) - MOST_TOLD) > 0:  # the last one is what it came to
        telling[MOST_TOLD - 1 : -1] = [f"{more} more"]
    return "; ".join(telling) if telling else "nothing large or hinted"


def _last_line(stderr: bytes) -> str:
    """The last line that is not blank, bounded."""
    lines = stderr[-(8 << 10) :].decode(errors="backslashreplace").strip().splitlines()
    return lines[-1].strip()[:LONGEST_MESSAGE] if lines else ""
