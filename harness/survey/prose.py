"""What was asked, what the kernel gave, what the program did: two sentences out of a trace."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from foothold_lab.harness.model.verdict import Outcome, Result
from foothold_lab.harness.survey.digest import Wish
from foothold_lab.harness.survey.loader import Seen

_PREFIX = re.compile(r"^(==\d+==|\[[\d.]+s\](\[[a-z,]+ *\])*)\s*")  # sanitizers', HotSpot's log
_RANGE = re.compile(r"0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})")
_LONGEST = 220


def word_of(seen: Seen) -> str:
    """Say in a word how it went, as a table shows it."""
    observed = seen.verdict.observed
    if observed is None or observed.outcome is None:
        return "unsupported" if seen.verdict.result is Result.UNSUPPORTED else "not known"
    if observed.outcome is not Outcome.STARTS:
        return f"**{observed.outcome}**{', not always' if seen.varied else ''}"
    return "starts" if all(each.granted for each in seen.wishes) else "*moved*"


def tell(seen: Seen) -> str:
    """Tell of a cell whose subject did not get what it asked for, or did not start."""
    denied = [each for each in seen.wishes if not each.granted]
    if not denied:
        return f"{_undenied(seen)} {_ending(seen)}"
    wish = max(denied, key=lambda each: (each.first.length, each.count))
    after = seen.wishes[seen.wishes.index(wish) + 1 :]
    asked = wish.asked + (", and on" if seen.cut and not after else "")
    return f"It asks for {asked}; the kernel {_answer(wish)}. {_reaction(wish, after, seen)}"


def _undenied(seen: Seen) -> str:
    """Tell of one that died although the kernel granted all that it asked for."""
    if not seen.traced:
        return "There is no trace of it."
    if seen.wishes:
        largest = max(seen.wishes, key=lambda each: each.first.length)
        largest = replace(largest, count=1)
        return f"It is given all that it asks for; the largest is {largest.asked}."
    nothing = "It asks the kernel for nothing that is large or has an address"
    place = _RANGE.search(" ".join(seen.words))
    if not place:
        return f"{nothing}."
    start, end = (int(each, 16) for each in place.groups())
    there = next((each for each in seen.listed if each[0] < end and start < each[1]), None)
    if seen.end and end > seen.end:
        why = f"goes beyond the end of its address space, {seen.end:#x}"
    elif there:
        why = "is not free"
    else:
        return f"{nothing}."
    if there:
        why += f", and {there[2] or 'a mapping'} lies in it at {there[0]:#x}"
    return f"{nothing}: the range of which it speaks, {start:#x}-{end:#x}, {why}."


def _answer(wish: Wish) -> str:
    each = "" if wish.count == 1 else " each time"
    if not wish.moved:
        return f"refuses{each} ({wish.errno})"
    if wish.refused:
        refuses = f"refuses {_times(wish.refused)} ({wish.errno})"
        return f"{refuses} and gives {wish.given or 0:#x} instead {_times(wish.moved)}"
    alike = " and the like" if wish.count > 1 else ""
    return f"gives {wish.given or 0:#x}{alike} instead"


def _reaction(wish: Wish, after: Sequence[Wish], seen: Seen) -> str:
    observed = seen.verdict.observed
    if observed is None or observed.outcome is not Outcome.STARTS:
        return _ending(seen)
    back = "gives it back" if "gave it back" in wish.then else ""
    if seen.cut:
        went = f"{back}, and goes on so" if back else "goes on so"
        return f"It {went} until its trace is ended; without a tracer it starts."
    if wish.then == "took it":
        return "It takes that, and starts."
    following = next((each for each in after if each.granted), None)
    if following is None:
        return f"It {back}, and starts without." if back else "It goes on without, and starts."
    got = "" if following.first.asked else f", is given {following.answered}"
    then = f"asks for {following.asked}{got}, and starts"
    return f"It {back}, {then}." if back else f"It {then}."


def _ending(seen: Seen) -> str:
    observed = seen.verdict.observed
    if observed is None:
        return f"What became of it is not known: {seen.verdict.findings[0]}."
    if observed.outcome is Outcome.HANGS:
        return "It comes to no end."
    how = f"by signal {observed.signal}" if observed.signal else f"with status {observed.status}"
    words = quoted(seen)
    return f"It dies {how}, saying {words}" if words else f"It dies {how}, without a word."


def quoted(seen: Seen) -> str:
    """The first that it complained of, as a quotation, without what a log puts before each line."""
    observed = seen.verdict.observed
    message = _PREFIX.sub("", observed.message) if observed else ""
    words = [_PREFIX.sub("", line) for line in seen.words]
    told = words if message in words else [message]
    text = " ".join(dict.fromkeys(f"{each.rstrip('.')}." for each in told if each))
    if not text:
        return ""
    return f"“{text[:_LONGEST]}{'…' if len(text) > _LONGEST else ''}”".replace("<", "&lt;")


def plain(observed: str) -> str:
    """Put an observation into the words of the page: no path, nothing of a log's own."""
    what = re.sub(r"^(high|low|refused), ", "", observed)
    ended, colon, message = what.partition(": ")
    message = _PREFIX.sub("", message)
    if what == Outcome.STARTS:
        return "it starts, under a tracer"
    return f"{ended}{colon}{message[: _LONGEST // 2]}{'…' if len(message) > _LONGEST // 2 else ''}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")
