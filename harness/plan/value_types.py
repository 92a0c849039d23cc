"""Types of values: the name of each, and how a value is parsed from a file or a command line."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.patterns import compile_pattern
from foothold_lab.harness.model.placement import EVERY, split_placement
from foothold_lab.harness.model.ssh_address import SshAddress
from foothold_lab.harness.model.verdict import Expectation
from foothold_lab.harness.plan.vocabulary import Vocabulary, check_workload, unknown_word

_TOML_NAMES = {str: "a string", bool: "true or false", int: "a number", float: "a number",
               list: "a list", dict: "a table"}  # fmt: skip
LONGEST_SHOWN = 100  # characters of a value that a message shows


@dataclass(frozen=True)
class ValueType:
    """A type of values.

    `parse` takes a value as the TOML parser returns it, and raises UsageError for a wrong one.
    `from_word` turns a word of the command line into what the TOML parser would have returned.
    """

    name: str
    parse: Callable[[object, Vocabulary], object]
    from_word: Callable[[str], object] = str


def wrong_type(expected: str, value: object) -> UsageError:
    """Return the error for a value of another TOML type."""
    found = _TOML_NAMES.get(type(value), "a date or time")
    return UsageError(f"expected {expected}, got {found}")


def display(value: object) -> str:
    """Return a value as a message can show it. Python refuses to write huge integers."""
    try:
        text = str(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong_type("a string", value)
    if "\0" in value:
        raise UsageError("a string must not contain a null byte", "remove it")
    return value


def _line(value: object, _: Vocabulary) -> str:
    line = _text(value)
    if not line.strip() or not line.isprintable():
        raise UsageError(f"{line!r} is not a line of text", "use printable characters")
    return line


def _tag(value: object, _: Vocabulary) -> str:
    tag = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", tag):
        remedy = "use letters, digits, and . _ - after the first"
        raise UsageError(f"{tag!r} is not a valid tag", remedy)
    return tag


def _flag(value: object, _: Vocabulary) -> bool:
    if not isinstance(value, bool):
        raise wrong_type("true or false", value)
    return value


def _assignment(value: object, _: Vocabulary) -> str:
    assignment = _text(value)
    if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", assignment):
        raise UsageError(f"{assignment!r} is not an assignment", "write NAME=VALUE")
    return assignment


def _expectation(value: object, known: Vocabulary) -> Expectation:
    expected = Expectation.parse(_text(value))
    if guest := expected.same_output_as:
        return replace(expected, same_output_as=known.resolve_guest(guest))
    return expected


def _regex(value: object, _: Vocabulary) -> str:
    return compile_pattern(_text(value)).text


def number(least: float, most: float, unit: str = "", *, whole: bool = False) -> ValueType:
    """Return the type of numbers from `least` to `most`, both included."""
    python_type: type[int] | type[float] = int if whole else float
    noun = "whole number" if whole else "number"
    name = f"{noun}{f' of {unit}' if unit else ''} from {least:g} to {most:g}"

    def parse(value: object, _: Vocabulary) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | python_type):
            raise wrong_type(f"a {name}", value)
        if not least <= value <= most or math.isnan(value):
            raise UsageError(f"{display(value)} is not a {name}")
        return value

    def from_word(word: str) -> object:
        try:
            return python_type(word)
        except ValueError:
            raise UsageError(f"{display(word)!r} is not a {name}") from None

    return ValueType(name, parse, from_word)


def choice(noun: str, *words: str | StrEnum) -> ValueType:
    """Return the type of values that are one of these words."""

    def parse(value: object, _: Vocabulary) -> str:
        word = _text(value)
        for each in words:
            if word == each:
                return each
        raise unknown_word(noun, word, map(str, words))

    return ValueType(", ".join(f'"{each}"' for each in words), parse)


def pattern(
    value_type: ValueType, all_names: Callable[[Vocabulary], Collection[str]] | None = None
) -> ValueType:
    """Return the type of values of `value_type`, or shell patterns of them.

    With `all_names`, a pattern has to match one of those names. A value without wildcards is
    parsed, so that every spelling of it becomes the same.
    """

    def parse(value: object, vocabulary: Vocabulary) -> str:
        word = _text(value)
        if not is_pattern(word):
            return str(value_type.parse(word, vocabulary))
        with contextlib.suppress(UsageError):  # a value can contain wildcards
            return str(value_type.parse(word, vocabulary))
        if all_names:
            _matching(word, all_names(vocabulary))
        return word

    return ValueType(f"{value_type.name} or pattern", parse)


def expanded_pattern(
    value_type: ValueType, all_names: Callable[[Vocabulary], Collection[str]]
) -> ValueType:
    """Return the type of values of `value_type`, where a shell pattern means every match: a tuple."""

    def parse(value: object, vocabulary: Vocabulary) -> object:
        word = _text(value)
        if not is_pattern(word):
            return value_type.parse(word, vocabulary)
        matching = _matching(word, all_names(vocabulary))
        return tuple(dict.fromkeys(value_type.parse(each, vocabulary) for each in matching))

    return ValueType(f"{value_type.name} or pattern", parse)


def is_pattern(word: str) -> bool:
    """Does it contain shell wildcards? The machines of all workers (`native@*`) are no pattern."""
    _, worker = split_placement(word)
    return worker != EVERY and bool(set(word) & set("*?["))


def _matching(word: str, names: Collection[str]) -> list[str]:
    matching = [each for each in names if fnmatchcase(each, word)]
    if not matching:
        raise UsageError(f"{word!r} matches nothing", f"known names: {', '.join(names)}")
    return matching


TEXT = ValueType("string", lambda value, _: _text(value))
LINE = ValueType("line of text", _line)
ASSIGNMENT = ValueType("string", _assignment)
TAG = ValueType("tag", _tag)
FLAG = ValueType("true or false", _flag)
REGEX = ValueType("regular expression", _regex)
EXPECTATION = ValueType("expectation", _expectation)
GUEST = ValueType("guest", lambda value, known: known.resolve_guest(_text(value)))
SSH_ADDRESS = ValueType("address", lambda value, _: SshAddress.parse(_text(value)))
LIMIT = ValueType("limit", lambda value, _: Limits.parse(_text(value)))
SUBJECT = ValueType("subject", lambda value, known: known.check_subject(_text(value)))
POLICY = ValueType("policy", lambda value, known: known.check_policy(_text(value)))
WORKLOAD = ValueType("workload", lambda value, _: check_workload(_text(value)))
SCHEMA = 1


def _schema(value: object, _: Vocabulary) -> int:
    if value != SCHEMA or not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"this version of Foothold only reads schema = {SCHEMA}")
    return SCHEMA


SCHEMA_VERSION = ValueType(f"{SCHEMA}", _schema)
