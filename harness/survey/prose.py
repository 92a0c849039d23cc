"""Describes a trace in two sentences: request, answer of the kernel, reaction of the program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from foothold_lab.harness.model.signals import signal_name
from foothold_lab.harness.model.verdict import Outcome, Result
from foothold_lab.harness.survey.digest import RequestGroup
from foothold_lab.harness.survey.loader import SurveyedCell

_PREFIX = re.compile(r"^(==\d+==|\[[\d.]+s\](\[[a-z,]+ *\])*)\s*")  # sanitizers', HotSpot's log
_RANGE = re.compile(r"0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})")
_LONGEST = 220


def outcome_word(seen: SurveyedCell) -> str:
    """Return the word for a cell in a table."""
    observed = seen.verdict.observed
    if observed is None or observed.outcome is None:
        return "unsupported" if seen.verdict.result is Result.UNSUPPORTED else "not known"
    if observed.outcome is not Outcome.STARTS:
        return f"**{observed.outcome}**{', not always' if seen.varied else ''}"
    return "starts" if all(each.granted for each in seen.requests) else "*moved*"


def describe_cell(seen: SurveyedCell) -> str:
    """Describe a cell whose subject did not get what it asked for, or did not start."""
    denied = [each for each in seen.requests if not each.granted]
    if not seen.starts and (call := _forbidden(seen)):
        return f"The kernel refuses `{call}`. {_ending(seen)}"
    if not denied:
        return f"{_undenied(seen)} {_ending(seen)}"
    group = max(denied, key=lambda each: (each.first.length, each.count))
    after = seen.requests[seen.requests.index(group) + 1 :]
    asked = group.asked + (", and more" if seen.trace_cut and not after else "")
    return f"It asks for {asked}; the kernel {_answer(group)}. {_reaction(group, after, seen)}"


def _undenied(seen: SurveyedCell) -> str:
    """Describe a subject that died although the kernel granted all its requests for addresses."""
    if not seen.traced:
        return "It was not traced."
    if seen.requests:
        largest = max(seen.requests, key=lambda each: each.first.length)
        largest = replace(largest, count=1)
        return f"The kernel grants all its requests; the largest is {largest.asked}."
    nothing = "It makes no large request and asks for no address"
    place = _RANGE.search(" ".join(seen.output_lines))
    if not place:
        return f"{nothing}."
    start, end = (int(each, 16) for each in place.groups())
    there = next((each for each in seen.last_mappings if each[0] < end and start < each[1]), None)
    if seen.address_space_end and end > seen.address_space_end:
        why = f"goes beyond the end of its address space, {seen.address_space_end:#x}"
    elif there:
        why = "is not free"
    else:
        return f"{nothing}."
    if there:
        why += f"; {there[2] or 'a mapping'} lies in it at {there[0]:#x}"
    return f"{nothing}. The range that it names, {start:#x}-{end:#x}, {why}."


def _forbidden(seen: SurveyedCell) -> str:
    """Return the last call that a rule of the kernel forbade: not for lack of memory, and not in search
    of a free address. What its errno means in words is left out.
    """
    observed = seen.verdict.observed
    calls = observed.evidence.get("refused", "").split("; ") if observed else []
    forbidden = [call for call in calls if re.search(r"\bE(ACCES|PERM)\b", call)]
    if not forbidden:
        return ""
    first_of_many = forbidden[-1].partition(", and ")[0]
    return re.sub(r" \([A-Z][^()]*\)$", "", first_of_many)


def _answer(group: RequestGroup) -> str:
    each = "" if group.count == 1 else " each time"
    if not group.moved:
        return f"refuses{each} ({group.errno})"
    if group.refused:
        refuses = f"refuses {_times(group.refused)} ({group.errno})"
        return f"{refuses} and gives {group.given or 0:#x} instead {_times(group.moved)}"
    alike = " and similar addresses" if group.count > 1 else ""
    return f"gives {group.given or 0:#x}{alike} instead"


def _reaction(group: RequestGroup, after: Sequence[RequestGroup], seen: SurveyedCell) -> str:
    observed = seen.verdict.observed
    if observed is None or observed.outcome is not Outcome.STARTS:
        return _ending(seen)
    back = "gives it back" if "gave it back" in group.then else ""
    if seen.trace_cut:
        repeats = f"{back}, and repeats this" if back else "repeats this"
        return f"It {repeats} until the trace ends; without a tracer it starts."
    if group.then == "took it":
        return "It uses that address, and starts."
    following = next((each for each in after if each.granted), None)
    if following is None:
        return f"It {back}, and starts without it." if back else "It starts without it."
    got = "" if following.first.requested else f", is given {following.answered}"
    then = f"asks for {following.asked}{got}, and starts"
    return f"It {back}, {then}." if back else f"It {then}."


def _ending(seen: SurveyedCell) -> str:
    observed = seen.verdict.observed
    if observed is None:
        return f"The result is not known: {seen.verdict.reason}."
    if observed.outcome is Outcome.HANGS:
        return "It hangs."
    how = (
        f"by {signal_name(observed.signal)}"
        if observed.signal
        else f"with status {observed.status}"
    )
    words = quote_output(seen)
    return f"It dies {how} and prints {words}" if words else f"It dies {how} and prints nothing."


def quote_output(seen: SurveyedCell) -> str:
    """Quote the first error message of a subject, without the prefixes of a log."""
    observed = seen.verdict.observed
    message = _PREFIX.sub("", observed.message) if observed else ""
    words = [_PREFIX.sub("", line) for line in seen.output_lines]
    told = words if message in words else [message]
    text = " ".join(dict.fromkeys(f"{each.rstrip('.')}." for each in told if each))
    if not text:
        return ""
    return f"“{text[:_LONGEST]}{'…' if len(text) > _LONGEST else ''}”".replace("<", "&lt;")


def describe_observation(observed: str) -> str:
    """Return an observation as the page shows it: without the path and the prefixes of a log."""
    what = re.sub(r"^(high|low|refused), ", "", observed)
    ended, colon, message = what.partition(": ")
    message = _PREFIX.sub("", message)
    if what == Outcome.STARTS:
        return "it starts, under a tracer"
    return f"{ended}{colon}{message[: _LONGEST // 2]}{'…' if len(message) > _LONGEST // 2 else ''}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")
