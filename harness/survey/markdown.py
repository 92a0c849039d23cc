"""Writes the survey as one page of Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence

from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Outcome
from foothold_lab.harness.survey.digest import RequestGroup, main_requests
from foothold_lab.harness.survey.imitation import compare_imitations
from foothold_lab.harness.survey.loader import NONE, Column, Survey, SurveyedCell, of_farm
from foothold_lab.harness.survey.prose import describe_cell, describe_observation, outcome_word
from foothold_lab.harness.survey.store_paths import without_store
from foothold_lab.harness.threshold.bisection import Edge, Threshold, about

_NUMBER = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")
_HEAD = """\
# The survey

Which language runtimes, allocators and sanitizers start in which address space, which
reservations they make, and how little address space is enough. For their maintainers, and for users
who choose a limit. Measured {when} by `foothold survey`, which you can run yourself: every
runtime is a package of Debian, of the Python package index or of npm, and every guest is booted.
The sentences are made from the traces of the run. Text in quotation marks is the program's own.
Words are defined in the [glossary](glossary.md), and [found.md](found.md) lists the bugs.
{html}
`native`, `docker` and `qemu-user-…` are the machine on which this page was made, with {memory} of
memory; the other guests have 2 GiB. A runtime that sizes its heap by the memory it finds, as
OpenJDK does, asks for more where there is more. qemu-user reports only the lower 32 bits of a size
that was refused. [runtimes.md](runtimes.md) says how to add a runtime; [atlas.md](atlas.md)
describes each address space.
"""
_OF_FARM = """\
It was made on a cluster: `native@NAME` is the machine of the worker NAME, and `native`, `docker` and
`qemu-user-…` ran on any worker.
"""
_STARTS = """\
## What starts where

A table for each machine and size of pages. Each guest has a column without a limit, and one for
each setting of a kernel: `wx=refused` refuses memory that is writable and executable (natively with
EACCES, in UML 6.1 with EPERM); `mmap_rnd_bits=32` randomises addresses as distributions do.
*moved*: it starts, but an address that it asked for was refused or changed. A dash: this was not
tried.
"""
_RESERVATIONS = """\
## By which reservation

What each asks of the kernel: the largest reservations that ask for an address, the largest that
takes any address, and what was not granted. *At exactly* insists on the address (MAP_FIXED, or
MAP_FIXED_NOREPLACE), *at* is a hint; *that* is the address that was asked for. Guests with the same
answers share a row; its addresses and sizes are those of the first. *Everywhere*: in all guests
that were tried. The 64 MiB that glibc reserves for each thread's malloc are left out.
"""
_DYING = """\
## What does not start, and why

Guests with the same result share an item; its addresses are those of the first.
"""
_MOVED = """\
## What starts elsewhere than it asked
"""
_LIMITS = """\
## The smallest limit

The smallest RLIMIT_AS under which each starts; under a limit that is a 64th smaller it does not.
It was found without a tracer. Below the limit it was then traced, to see what was refused last. A
star: under larger limits, or without one, it does not always start.
"""
_IMITATED = """\
## A kernel imitated

If you do not have such a kernel, you can imitate the end of its address space with a limit:
[limits.md](limits.md) says how, and what an imitation cannot do. Above all, the program itself
stays where this machine's kernel placed it.

"""


def markdown(survey: Survey, html: str = "") -> str:
    """Write the page. `html` is the name of the file with the same as one HTML page, if it exists."""
    link = f"[{html}]({html}) is the same as one page to filter.\n" if html else ""
    native = survey.guests.get("native")
    memory = f"{(native.memory >> 30) + 1} GiB" if native else "its own"
    parts = [
        _HEAD.format(when=_when(survey), memory=memory, html=link),
        _OF_FARM if any(map(of_farm, survey.guests)) else "",
        _versions(survey), _STARTS, _starts(survey), _DYING, _findings(survey, moved=False), _MOVED,
        _findings(survey, moved=True), _RESERVATIONS, _reservations(survey),
        _LIMITS if survey.thresholds or survey.missing_thresholds else "", _thresholds(survey), _unfound(survey), _below(survey), _agreement(survey),
        _imitated(survey),
        *(f"Not measured: {guest}: {why}.\n" for guest, why in survey.unmeasured.items()),
    ]  # fmt: skip
    return without_store("\n".join(part for part in parts if part))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("<", "&lt;")


def _wrapped(paragraph: str) -> str:
    """Wrap a paragraph, or an item of a list."""
    indent = "  " if paragraph.startswith("* ") else ""
    lines = textwrap.wrap(
        without_store(paragraph),
        100,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines) + "\n"


def _named(survey: Survey, subject: str) -> str:
    return survey.subjects[subject].title


def _versions(survey: Survey) -> str:
    kernels = (f"{guest} {release}" for guest, release in survey.releases.items())
    versions = dict.fromkeys(
        f"{re.split(',| -', each.title)[0]} {each.version}" for each in survey.subjects.values()
    )
    told = (f"Kernels: {', '.join(kernels)}.", f"Runtimes: {', '.join(versions)}.")
    return "".join(map(_wrapped, told))


def _starts(survey: Survey) -> str:
    machines: dict[tuple[str, int], list[Column]] = {}
    for column in survey.columns:
        facts = survey.guests[column.guest]
        machines.setdefault((facts.machine, facts.page_size), []).append(column)
    return "\n".join(
        [
            _everywhere(survey),
            *(
                f"### {machine}, pages of {page_size >> 10} KiB\n\n{_starts_on(survey, columns)}"
                for (machine, page_size), columns in machines.items()
            ),
        ]
    )


def _everywhere(survey: Survey) -> str:
    """Name the runtimes that start everywhere, with all that they ask for."""
    words: dict[str, set[str]] = {}
    for (_, limits, subject), seen in survey.cells.items():
        if limits == NONE:
            words.setdefault(subject, set()).add(outcome_word(seen))
    well = [_named(survey, each) for each in survey.subjects if words.get(each) == {"starts"}]
    told = f"{len(well)} of {len(words)} start in all guests, at the addresses that they ask for"
    return _wrapped(f"{told}: {'; '.join(well)}." if well else f"{told}.")


def _starts_on(survey: Survey, columns: Sequence[Column]) -> str:
    def word(column: Column, subject: str) -> str:
        seen = survey.cells.get((column.guest, column.limits, subject))
        return outcome_word(seen) if seen else "-"

    rows = (
        [_named(survey, subject), *(word(column, subject) for column in columns)]
        for subject in survey.subjects
    )
    return _table(["", *map(str, columns)], (row for row in rows if set(row[1:]) != {"-"}))


def _groups(
    survey: Survey, subject: str, key: Callable[[SurveyedCell], object]
) -> Iterator[tuple[list[Column], SurveyedCell]]:
    """Group the columns with the same key, with the cell of the first column of each group."""
    groups: dict[object, tuple[list[Column], SurveyedCell]] = {}
    for column in survey.columns:
        seen = survey.cells.get((column.guest, column.limits, subject))
        if seen is not None and seen.verdict.observed is not None:
            groups.setdefault(key(seen), ([], seen))[0].append(column)
    yield from groups.values()


def _manner(seen: SurveyedCell) -> object:
    """Return a key of guests with the same result: outcome and answers, without addresses."""
    ways = (
        (w.exact, bool(w.first.requested), bool(w.refused), bool(w.moved)) for w in seen.requests
    )
    return outcome_word(seen), frozenset(ways)


def _denial(seen: SurveyedCell) -> object:
    """Return a key of the outcome, the calls that were refused, and the message, without numbers."""
    denied = ((w.exact, bool(w.refused), bool(w.moved), w.then) for w in seen.requests)
    observed = seen.verdict.observed
    died: tuple[object, ...] = ()
    if observed:
        texts = (observed.message, observed.evidence.get("refused", ""))
        died = (observed.status, observed.signal, *(_NUMBER.sub("", each) for each in texts))
    return outcome_word(seen), frozenset(each for each in denied if each[1] or each[2]), died


def _findings(survey: Survey, *, moved: bool) -> str:
    """Describe the subjects that start at another address; or those that do not start."""
    told: dict[str, list[str]] = {}  # runtimes with the same text share an item
    for subject in survey.subjects:
        for columns, seen in _groups(survey, subject, _denial):
            if outcome_word(seen) != "starts" and seen.starts is moved:
                bits = dict.fromkeys(f"{survey.guests[each.guest].bits}" for each in columns)
                where = f"{_abbreviated(columns)} ({' and '.join(bits)} bits)"
                told.setdefault(f"{where}: {describe_cell(seen)}", []).append(
                    _named(survey, subject)
                )
    items = (f"* **{'; '.join(names)}**, {what}" for what, names in told.items())
    return "".join(map(_wrapped, items)) or "Nothing.\n"


def _abbreviated(columns: Sequence[Column]) -> str:
    return abbreviate_guests(list(map(str, columns)))


def abbreviate_guests(guests: Sequence[str]) -> str:
    """List guests, and shorten a repeated prefix: `qemu-riscv64-sv39, -sv48`."""
    told: list[str] = []
    family = ""
    for guest in guests:
        if family and guest.startswith(f"{family}-"):
            told.append(guest.removeprefix(family))
            continue
        told.append(guest)
        before = guest.rpartition("-")[0]
        family = "" if before == "qemu" else before
    return ", ".join(told)


def _reservations(survey: Survey) -> str:
    rows: list[list[str]] = []
    modest = []
    for subject in survey.subjects:
        groups = list(_groups(survey, subject, _manner))
        if all(seen.traced and not seen.requests for _, seen in groups):
            modest.append(_named(survey, subject))
            continue
        for columns, seen in groups:
            name = _named(survey, subject)
            where = "everywhere" if len(groups) == 1 else _abbreviated(columns)
            shown = main_requests(seen.requests)
            if not shown:
                asked = "nothing large, no address" if seen.traced else "not traced"
                rows.append([name, where, asked, "", ""])
            for group in shown:
                rows.append([name, where, group.asked, group.answered, _then(group, seen)])
                name = where = ""
    nothing = f"These ask for nothing large and for no address: {'; '.join(modest)}."
    table = _table(["", "guests", "asked", "given", "then"], rows)
    return f"{table}\n{_wrapped(nothing)}" if modest else table


def _then(group: RequestGroup, seen: SurveyedCell) -> str:
    if group.granted or seen.starts or group is not seen.requests[-1]:
        return group.then
    hangs = seen.verdict.observed and seen.verdict.observed.outcome is Outcome.HANGS
    return "hung" if hangs else "died"


def _thresholds(survey: Survey) -> str:
    known = {(each.guest, each.subject): each for each in survey.thresholds}
    if not known:
        return ""

    guests = [guest for guest in survey.guests if any(each == guest for each, _ in known)]

    def word(guest: str, subject: str) -> str:
        found = known.get((guest, subject))
        return _edge(found) if found else "-"

    rows = (
        [_named(survey, subject), *(word(guest, subject) for guest in guests)]
        for subject in survey.subjects
    )
    return _table(["", *guests], (row for row in rows if set(row[1:]) != {"-"}))


def _unfound(survey: Survey) -> str:
    told = (
        f"* Not found: {f'{_named(survey, subject)} in ' if subject else ''}{guest}: {why}"
        for guest, subject, why in survey.missing_thresholds
    )
    return "".join(map(_wrapped, told))


def _edge(found: Threshold) -> str:
    size = found.search.smallest
    if found.search.edge is Edge.NEVER or size is None:
        return (
            "never" if found.search.edge is Edge.NEVER else f"> {about(found.search.largest or 0)}"
        )
    return f"{about(size)}*" if found.search.edge is Edge.SEVERAL else about(size)


def _below(survey: Survey) -> str:
    """Describe what happens just below the threshold, in the first guest of each subject."""
    first: dict[str, Threshold] = {}
    for each in sorted(survey.thresholds, key=lambda one: list(survey.guests).index(one.guest)):
        if each.search.edge in (Edge.FOUND, Edge.SEVERAL):
            first.setdefault(each.subject, each)
    rows = (
        [
            _named(survey, subject),
            f"{about(first[subject].search.largest or 0)}, {first[subject].guest}",
            first[subject].refused.removeprefix("mmap, ") or "nothing",
            describe_observation(first[subject].observed),
        ]
        for subject in survey.subjects
        if subject in first
    )
    return _table(["", "under", "refused last", "result"], rows) if first else ""


def _imitated(survey: Survey) -> str:
    told = "".join(map(_wrapped, compare_imitations(survey)))
    return _IMITATED + told.replace(":\n*", ":\n\n*") if told else ""


def _agreement(survey: Survey) -> str:
    """Compare the cells under a limit with the thresholds, which were found independently."""
    known = {(each.guest, each.subject): each for each in survey.thresholds}
    agree, against = 0, []
    for (guest, limits, subject), seen in survey.cells.items():
        found, observed = known.get((guest, subject)), seen.verdict.observed
        size = Limits.parse(limits).rlimit_as
        if not (found and observed and size and found.search.edge is not Edge.NEVER):
            continue
        enough, little = found.search.smallest, found.search.largest
        if enough and little and little > enough:  # not monotonic
            little = None
        if (little is not None and size <= little and seen.starts) or (
            enough is not None and size >= enough and not seen.starts
        ):
            told = f"{_named(survey, subject)} in {guest} under {limits}: {observed}"
            against.append(_wrapped(f"* {told}; its threshold is {found}"))
        else:
            agree += 1
    if not agree and not against:
        return ""
    text = f"{agree} of {agree + len(against)} cells of the run under a limit agree with these sizes.\n"
    return text + ("\n" + "".join(against) if against else "")


def _when(survey: Survey) -> str:
    if survey.first == survey.date:
        return f"on {survey.date}"
    return f"from {survey.first} to {survey.date}"
