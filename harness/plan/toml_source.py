"""The text of a plan, and the line of everything in it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foothold_lab.harness.model.errors import UsageError

LARGEST = 1 << 20  # bytes; a longer file is taken for a mistake
_PART = r"\"[^\"]*\"|'[^']*'|[\w-]+"
_HEADER = re.compile(rf"\s*\[\[?\s*((?:{_PART})(?:\s*\.\s*(?:{_PART}))*)\s*\]\]?\s*(?:#.*)?$")
_LINE = re.compile(r"\(at line (\d+), column \d+\)$")  # the end of a message of tomllib
_KEY = re.compile(rf"\s*((?:{_PART})(?:\s*\.\s*(?:{_PART}))*)\s*=")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in a plan.

    `section` is the key of a section; `which` selects one of several, by number from 0 or by name.
    `key` is the key of a setting. `word` is a word of its value, or, without a key, an unknown key.
    `nth` is the number of that word in a list, from 0.
    """

    section: str = ""
    which: int | str | None = None
    key: str = ""
    word: str = ""
    nth: int | None = None

    def __str__(self) -> str:
        which = {int: f"[{self.which}]", str: f".{self.which}"}.get(type(self.which), "")
        section = f"{self.section}{which}"
        nth = "" if self.nth is None else f"[{self.nth}]"
        whole = f"{section}.{self.key}{nth}".strip(".")
        return "".join(each if each.isprintable() else "?" for each in whole)


class Source:
    """The file of a plan. Raises UsageError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = _read(path)
        self._lines = self._text.split("\n")

    def tables(self) -> dict[str, Any]:
        """Parse the file as TOML. Raises UsageError."""
        try:
            return tomllib.loads(self._text)
        except (ValueError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            line = _LINE.search(why)
            at = f"{self.path}:{line[1]}" if line else f"{self.path}"
            raise UsageError(
                f"{at}: this is not valid TOML: {why}", "see https://toml.io for the format"
            ) from error

    def error_at(self, place: Place, error: UsageError) -> UsageError:
        """Return the error with file, line and key in front of its message."""
        line = self.line_of(place)
        at = f"{self.path}:{line}" if line else str(self.path)
        return UsageError(
            f"{at}: {place}: {error}" if str(place) else f"{at}: {error}", error.remedy
        )

    def line_of(self, place: Place) -> int:
        """Return the line of a place, from 1; the line of what contains it, or 0, if unknown."""
        start, end = self._table(place)
        key = place.key or place.word
        if not key:
            return start
        for n in range(start, end):
            match = _KEY.match(self._lines[n])
            if match and _parts(match[1])[-1] == key:
                return self._word(n, end, place.word)
        return start

    def _table(self, place: Place) -> tuple[int, int]:
        """Return the first line of a section and its end; (0, end) for the top level."""
        headers = ((_HEADER.match(line), n) for n, line in enumerate(self._lines))
        titles = [(_parts(match[1]), n) for match, n in headers if match]
        ends = [n for _, n in titles[1:]] + [len(self._lines)]
        by_name = (place.which,) if isinstance(place.which, str) else ()
        for wanted in ((place.section, *by_name), (place.section,)):
            tables = zip(titles, ends, strict=False)
            found = [(n + 1, end) for (title, n), end in tables if title == wanted]
            if found:
                nth = place.which if isinstance(place.which, int) else 0
                return found[min(nth, len(found) - 1)]
        top = titles[0][1] if titles else len(self._lines)
        if not place.section:
            return 0, top
        # a dotted key, or an inline table
        for n in range(top):
            match = _KEY.match(self._lines[n])
            if match and _parts(match[1])[0] == place.section:
                return n + 1, top
        return 0, top

    def _word(self, start: int, end: int, word: str) -> int:
        """Return the line of a word in the value that begins on line `start`, or that line."""
        for n in range(start, end):
            if n > start and _KEY.match(self._lines[n]):
                break
            if word and re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", self._lines[n]):
                return n + 1
        return start + 1


def _parts(key: str) -> tuple[str, ...]:
    return tuple(each.strip("\"'") for each in re.findall(_PART, key))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        remedy = "give the path of a readable TOML file"
        raise UsageError(f"{path}: {error.strerror or error}", remedy) from error
    if len(data) > LARGEST:
        raise UsageError(f"{path}: larger than {LARGEST} bytes", "check that it is a plan")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        problem = f"{error.reason} at byte {error.start}"
        raise UsageError(
            f"{path}: this is not valid TOML: {problem}", "encode the file as UTF-8"
        ) from error
