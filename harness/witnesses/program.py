"""A program that reports nothing: what trace, maps and its ending tell of its way.

Of interest is each anonymous reservation that is large or asks for an address, what the kernel made
of it, and what the program did then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.ledger import Account, Answer, Ledger, Map, Reservation, Step, Unmap, settle
from harness.record import Ending, Record
from harness.verdict import Observation, Outcome, Path
from harness.witnesses.accounts import Accounts, Calls
from harness.witnesses.agreement import compare
from harness.witnesses.maps import FOUR_GIB, MapsError, ledger_of
from harness.witnesses.strace import Story

RUNNING = "running"  # the moment of the maps of a program that we have ended
MOST_TOLD = 12  # reservations
MOST_SAID = 4096  # characters of what it printed last
LONGEST_MESSAGE = 500


def observe_program(record: Record) -> Observation:
    """Join trace, maps and ending. Never raises: what cannot be understood is a contradiction.

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
    stopped = record.running and record.ending.signal == _KILLED
    evidence["ending"] = (
        _how(record.ending)
        if not stopped
        else (f"it was still running after {record.ending.wall:.1f} s, and was ended")
    )
    if record.ending.outlived and not stopped:
        evidence["left behind"] = f"{record.ending.outlived} processes, which were ended"
    evidence["took"] = _took(record.ending)
    for what in record.cut:
        evidence[f"cut {what}"] = "there was more than is kept"
    well = stopped or not (record.ending.signal or record.ending.status)
    said = _said(record)
    return Observation(
        _path(ledger),
        Outcome.STARTS if well else Outcome.DIES,
        0 if stopped else record.ending.status,
        0 if stopped else record.ending.signal,
        "" if well else _last_line(said),
        evidence,
        tuple(against),
        said,
    )


_KILLED = 9


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
    if RUNNING in record.maps:
        try:
            maps = accounts.maps(RUNNING)
        except MapsError as error:
            against.append(f"the maps cannot be read: {error}")
        else:
            evidence[f"maps while {RUNNING}"] = _largest(ledger_of(maps))
            against += compare(account, maps, RUNNING) if maps and calls.whole else []
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
            then = f", {reaction(story, at)}"
        yield f"{reservation}{then}"


def _next_map(ledger: Ledger, place: int, wanted: Reservation) -> int:
    """Find this step's entry: mremap makes entries of its own in between."""
    place += 1
    while ledger[place] != wanted:
        place += 1
    return place


def reaction(story: Story, at: int) -> str:
    """Say what the program did when it did not get the addresses that it had asked for."""
    step = story.steps[at]
    assert isinstance(step, Map)
    asked = step.reservation
    rest = story.steps[at + 1 :]
    back = any(_gives_back(each, asked) for each in rest)
    given = "gave it back, and " if back else ""
    later = (each.reservation for each in rest if isinstance(each, Map))
    following = next((each for each in later if _alone(each)), None)
    if following is None:
        died = story.ending and story.ending != "exited with 0"
        if asked.answer is Answer.MOVED and not back:
            return "took it"
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
    return isinstance(step, Unmap) and asked.given is not None and step.start == asked.given


def _path(ledger: Ledger) -> Path | None:
    telling = [each for each in ledger if _counts(each)]
    given = [each for each in telling if each.given is not None]
    if not given:
        return Path.REFUSED if telling else None
    largest = max(given, key=lambda each: each.length)
    return Path.LOW if (largest.given or 0) < FOUR_GIB else Path.HIGH


def _largest(ledger: Ledger) -> str:
    largest = sorted(ledger, key=lambda each: -each.length)[:3]
    return "; ".join(str(each) for each in largest) or "nothing anonymous"


def _how(ending: Ending) -> str:
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


def _last_line(said: str) -> str:
    lines: Sequence[str] = said.splitlines()
    return lines[-1].strip()[:LONGEST_MESSAGE] if lines else ""
