"""A program that reports nothing: what trace, maps and its ending tell of its way.

Of interest is each anonymous reservation that is large or asks for an address, what the kernel made
of it, and what the program did then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from foothold_lab.harness.evidence.crosscheck import compare_late
from foothold_lab.harness.evidence.maps import FOUR_GIB, MapsError, ledger_of
from foothold_lab.harness.evidence.strace import Story
from foothold_lab.harness.evidence.trace_source import Accounts, Calls
from foothold_lab.harness.model.ledger import (
    Account,
    Answer,
    Fate,
    Ledger,
    Map,
    Reservation,
    Step,
    Unmap,
    settle,
)
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import Observation, Outcome, ReservationPath

_COMPLAINT = re.compile(
    r"error|fatal|fail|cannot|can't|unable|abort|panic|exception|throw|out of memory|no memory",
    re.I,
)
TRACED = "ending, traced"  # evidence of a program that was run again without a tracer
RUNNING = "running"  # the moment of the maps of a program that we have ended
END = "end"  # of one that was about to end by itself
MOST_TOLD = 12  # reservations
MOST_SAID = 4096  # characters of what it printed last
LONGEST_MESSAGE = 500


def observe_program(
    record: Record, untraced: Record | None = None, *, ready_pattern: str = "", ends: bool = False
) -> Observation:
    """Join trace, maps and ending. Never raises: what cannot be understood is a contradiction.

    It has started if it ended with status 0, having printed what matches `says`; or, unless it
    `ends` by itself, if it has said so, or nothing is known that it ready_pattern, and it still ran when our
    patience was over. If it was run again without a tracer, that run is its ending.

    The path is where the largest of the telling reservations that were given went: `low` below
    4 GiB, else `high`; `refused` if there were some and none was given; None if there were none.
    """
    evidence: dict[str, str] = {}
    against: list[str] = []
    ledger: Ledger = ()
    accounts = Accounts(record)
    if calls := accounts.calls():
        ledger = _hear_trace(record, accounts, calls, evidence, against)
    elif RUNNING in record.maps:
        ledger = _hear_maps(accounts, evidence, against)
    for what in record.cut:
        evidence[f"cut {what}"] = "there was more than is kept"
    if untraced:
        evidence[TRACED] = _how(record)
        record = untraced
    evidence["ending"] = _how(record)
    ending, stopped = record.ending, _was_stopped(record)
    if ending.outlived and not stopped:
        evidence["left behind"] = f"{ending.outlived} processes, which were ended"
    evidence["took"] = _took(ending)
    silent = bool(ready_pattern) and not (record.said or _has_said(record, ready_pattern))
    said = _said(record)
    outcome, message = Outcome.STARTS, ""
    if stopped:
        if ends or silent:
            outcome = Outcome.HANGS
    elif ending.signal or ending.status or silent:
        outcome = Outcome.DIES
        well = not (ending.signal or ending.status)
        message = f"it ended without having said /{ready_pattern}/" if well else _complaint(record)
    return Observation(
        _path(ledger),
        outcome,
        0 if stopped else ending.status,
        0 if stopped else ending.signal,
        message,
        evidence,
        tuple(against),
        said,
    )


_KILLED = 9


def _was_stopped(record: Record) -> bool:
    return record.running and record.ending.signal == _KILLED


def _has_said(record: Record, ready_pattern: str) -> bool:
    pattern = re.compile(ready_pattern.encode(), re.MULTILINE)
    return any(pattern.search(each) for each in (record.stdout, record.stderr))


def _hear_trace(
    record: Record,
    accounts: Accounts,
    calls: Calls,
    evidence: dict[str, str],
    against: list[str],
) -> Ledger:
    story = calls.story
    account = settle(story.steps)
    told = list(tell(story, account))
    more = f"and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    evidence["trace"] = "; ".join([*told[:MOST_TOLD], more]).rstrip("; ") or (
        "nothing large, nothing with a hint"
    )
    if story.threads or story.children:
        evidence["started"] = f"{story.threads} threads, {story.children} processes"
    if calls.said:
        evidence["strace itself"] = "; ".join(calls.said[:3])
    if "trace" in record.cut:
        return account.ledger  # its end is not there to be held against anything
    against += calls.doubts
    for moment, words in ((RUNNING, f"maps while {RUNNING}"), (END, f"maps at the {END}")):
        if moment not in record.maps:
            continue
        try:
            maps = accounts.maps(moment)
        except MapsError as error:
            against.append(f"the maps cannot be read: {error}")
            continue
        evidence[words] = _largest(ledger_of(maps))
        if maps and calls.whole:
            against += compare_late(story, account, maps, moment)
    return account.ledger


def _hear_maps(accounts: Accounts, evidence: dict[str, str], against: list[str]) -> Ledger:
    """Without a trace, the maps say where it is, and nobody what it asked for."""
    try:
        ledger = ledger_of(accounts.maps(RUNNING))
    except MapsError as error:
        against.append(f"the maps cannot be read: {error}")
        return ()
    evidence[f"maps while {RUNNING}"] = _largest(ledger)
    return ledger


def tell(story: Story, account: Account) -> Iterator[str]:
    """Tell each reservation that is large or hinted, and what the program did upon the answer."""
    place = -1
    for at, step in enumerate(story.steps):
        if not isinstance(step, Map):
            continue
        place = _next_map(account.ledger, place, step.reservation)
        reservation = account.ledger[place]
        if not _counts(reservation):
            continue
        then = ""
        if reservation.answer in (Answer.MOVED, Answer.REFUSED):
            then = f", {reaction(story, at, reservation)}"
        yield f"{reservation}{then}"


def _next_map(ledger: Ledger, place: int, wanted: Reservation) -> int:
    """Find this step's entry: mremap makes entries of its own in between."""
    place += 1
    while ledger[place] != wanted:
        place += 1
    return place


def reaction(story: Story, at: int, asked: Reservation) -> str:
    """Say what the program did when it did not get the addresses that it had asked for, by the step
    with this place in its story; the ledger says what became of it.
    """
    later = range(at + 1, len(story.steps))  # no copy: there may be thousands to be told of
    unused = asked.protection == "---" and asked.became == (Fate.UNMAPPED,)
    back = unused or any(_gives_back(story.steps[n], asked) for n in later if asked.given)
    given = "gave it back, and " if back else ""
    maps = (
        each.reservation for each in map(story.steps.__getitem__, later) if isinstance(each, Map)
    )
    following = next((each for each in maps if _alone(each)), None)
    if asked.answer is Answer.MOVED and not back:
        return "took it"
    if following is None:
        died = story.ending and story.ending != "exited with 0"
        return f"{given}gave up" if died else f"{given}went on without"
    if following.length < asked.length:
        return f"{given}asked for less"
    if following.length > asked.length:
        return f"{given}asked for more" if back else "went on"
    return f"{given}tried elsewhere"


def _counts(reservation: Reservation) -> bool:
    """Does it tell, and is it a request of its own, no part of what is reserved already?"""
    return reservation.tells and not reservation.within


def _alone(reservation: Reservation) -> bool:
    """The same of a request as it was made, before anything is known of what it fell upon."""
    return reservation.tells and "FIXED" not in reservation.flags


def _gives_back(step: Step, asked: Reservation) -> bool:
    """All of it: many a program asks for more than it needs, and cuts off what is not aligned."""
    whole = (asked.given, asked.length)
    return isinstance(step, Unmap) and (step.start, min(step.length, asked.length)) == whole


def _path(ledger: Ledger) -> ReservationPath | None:
    telling = [each for each in ledger if _counts(each)]
    given = [each for each in telling if each.given is not None]
    if not given:
        return ReservationPath.REFUSED if telling else None
    largest = max(given, key=lambda each: each.length)
    return ReservationPath.LOW if (largest.given or 0) < FOUR_GIB else ReservationPath.HIGH


def _largest(ledger: Ledger) -> str:
    largest = sorted(ledger, key=lambda each: -each.length)[:3]
    return "; ".join(str(each) for each in largest) or "nothing anonymous"


def _how(record: Record) -> str:
    ending = record.ending
    if _was_stopped(record):
        after = f"after {ending.wall:.1f} s"
        return (
            f"it said that it has started {after}, and was ended"
            if record.said
            else f"it was still running {after}, and was ended"
        )
    return f"signal {ending.signal}" if ending.signal else f"status {ending.status}"


def _took(ending: Ending) -> str:
    return (
        f"{ending.wall:.2f} s, of a processor {ending.user + ending.system:.2f} s; "
        f"{ending.max_rss >> 20} MiB resident"
    )


def _said(record: Record) -> str:
    """The last that it printed; standard error behind the rest, since it is what counts."""
    tails = (record.stdout[-MOST_SAID:], record.stderr[-MOST_SAID:])
    return "\n".join(tail.decode(errors="backslashreplace").strip() for tail in tails if tail)


def _complaint(record: Record) -> str:
    """The first line that sounds like one, else the last: what comes after it is often a dump."""
    outputs = (record.stdout, record.stderr)
    ends = [each[:MOST_SAID] + b"\n" + each[-MOST_SAID:] for each in outputs]
    lines: Sequence[str] = b"\n".join(ends).decode(errors="backslashreplace").strip().splitlines()
    telling = (line for line in lines if _COMPLAINT.search(line))
    return next(telling, lines[-1] if lines else "").strip()[:LONGEST_MESSAGE]
