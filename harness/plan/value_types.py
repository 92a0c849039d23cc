"""Kinds of values: what one is called, and how it is read, from a file or a command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Expectation
from foothold_lab.harness.plan.vocabulary import Known, unknown, workload

_TOML = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list",
         dict: "a table"}  # fmt: skip
LONGEST = 100  # characters of a value that a message shows


@dataclass(frozen=True)
class ValueType:
    """One kind of value. `read` takes what TOML has read and raises UsageError if it is none;
    `of_word` makes of a word of the command line what TOML would have read.
    """

    name: str
    read: Callable[[object, Known], object]
    of_word: Callable[[str], object] = str


def unlike(expected: str, value: object) -> UsageError:
    """Return what to say of a value of another type."""
    return UsageError(f"expected {expected}, got {_TOML.get(type(value), 'a date or time')}")


def written(value: object) -> str:
    """Return a value as it can be shown: Python writes no number of thousands of digits."""
    try:
        text = str(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise unlike("text", value)
    if "\0" in value:
        raise UsageError("a text cannot have a byte of value 0 in it", "leave it out")
    return value


def _line(value: object, known: Known) -> str:
    line = _text(value)
    if not line.strip() or not line.isprintable():
        raise UsageError(f"{line!r} is no line of text", "write one that can be printed")
    return line


def _tag(value: object, known: Known) -> str:
    tag = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", tag):
        raise UsageError(f"{tag!r} is no tag", "use letters, digits, and . _ - within it")
    return tag


def _flag(value: object, known: Known) -> bool:
    if not isinstance(value, bool):
        raise unlike("true or false", value)
    return value


def _assignment(value: object, known: Known) -> str:
    assignment = _text(value)
    if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", assignment):
        raise UsageError(f"{assignment!r} is no assignment", "write NAME=VALUE")
    return assignment


def _expectation(value: object, known: Known) -> Expectation:
    try:
        return Expectation.parse(_text(value))
    except ValueError as error:
        remedy = 'write "starts", "path:low", "path:high", "path:refused", "dies:out of memory"'
        raise UsageError(str(error), f'{remedy} or "anything"') from error


def _regex(value: object, known: Known) -> str:
    text = _text(value)
    try:
        re.compile(text)
    except re.error as error:
        raise UsageError(f"{text!r} is no regular expression: {error}") from error
    return text


def number(least: float, most: float, unit: str = "", *, whole: bool = False) -> ValueType:
    """Return the kind of numbers between these two, which belong to it."""
    kind: type[int] | type[float] = int if whole else float
    what = "whole number" if whole else "number"
    name = f"{what}{f' of {unit}' if unit else ''} from {least:g} to {most:g}"

    def read(value: object, known: Known) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | kind):
            raise unlike(f"a {name}", value)
        if not least <= value <= most or math.isnan(value):
            raise UsageError(f"{written(value)} is no {name}")
        return value

    def of_word(word: str) -> object:
        try:
            return kind(word)
        except ValueError:
            raise UsageError(f"{written(word)!r} is no {name}") from None

    return ValueType(name, read, of_word)


def choice(what: str, *words: str | StrEnum) -> ValueType:
    """Return the kind of which there are these words alone."""

    def read(value: object, known: Known) -> str:
        word = _text(value)
        for each in words:
            if word == each:
                return each
        raise unknown(what, word, map(str, words))

    return ValueType(", ".join(f'"{each}"' for each in words), read)


def pattern(
    kind: ValueType, there_are: Callable[[Known], Collection[str]] | None = None
) -> ValueType:
    """Return the kind of words of this one that may have shell wildcards. A pattern has to match
    one of those that there are, if that is known; everything else has to be a word, and is brought
    to its one spelling.
    """

    def read(value: object, known: Known) -> str:
        word = _text(value)
        if not is_wild(word):
            return str(kind.read(word, known))
        if there_are:
            _matching(word, there_are(known))
        return word

    return ValueType(f"{kind.name} or pattern", read)


def several(kind: ValueType, there_are: Callable[[Known], Collection[str]]) -> ValueType:
    """Return the kind of words that stand for one of this kind, or as a pattern for all those that
    match: a tuple.
    """

    def read(value: object, known: Known) -> object:
        word = _text(value)
        if not is_wild(word):
            return kind.read(word, known)
        matching = _matching(word, there_are(known))
        return tuple(dict.fromkeys(kind.read(each, known) for each in matching))

    return ValueType(f"{kind.name} or pattern", read)


def is_wild(word: str) -> bool:
    """Is it a pattern, and no word?"""
    return bool(set(word) & set("*?["))


def _matching(word: str, words: Collection[str]) -> list[str]:
    matching = [each for each in words if fnmatchcase(each, word)]
    if not matching:
        raise UsageError(f"{word!r} matches none of them", f"there is: {', '.join(words)}")
    return matching


TEXT = ValueType("text", lambda value, known: _text(value))
LINE = ValueType("line of text", _line)
ASSIGNMENT = ValueType("text", _assignment)
TAG = ValueType("tag", _tag)
FLAG = ValueType("true or false", _flag)
REGEX = ValueType("regular expression", _regex)
EXPECTATION = ValueType("expectation", _expectation)
GUEST = ValueType("guest", lambda value, known: known.guest(_text(value)))
LIMIT = ValueType("limit", lambda value, known: Limits.parse(_text(value)))
SUBJECT = ValueType("subject", lambda value, known: known.subject(_text(value)))
POLICY = ValueType("policy", lambda value, known: known.policy(_text(value)))
WORKLOAD = ValueType("workload", lambda value, known: workload(_text(value)))
SCHEMA = 1


def _schema(value: object, known: Known) -> int:
    if value != SCHEMA or not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"this version of Foothold reads schema = {SCHEMA} alone")
    return SCHEMA


SCHEMA_KIND = ValueType(f"{SCHEMA}", _schema)
