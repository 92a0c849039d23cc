"""Plans: TOML files that say which cells there are, and what each must come to.

A plan is axes (guests, limits, policies) whose product is the cells, less what an `[[exclude]]`
matches, plus the product of each `[[include]]`. The first `[[expect]]` that matches a cell is what
the plan declares of it. Every mistake is a UsageError that names the file, the line, the key, and
what would have been right.
"""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

import plans
from harness import verdict
from harness.cells import Cell, Limits
from harness.errors import UsageError
from harness.verdict import Expectation, Outcome

SHIPPED = Path(plans.__file__).parent
DEFAULT = "default"
T = TypeVar("T")
LARGEST = 1 << 20  # bytes; nobody writes a longer plan by hand


@dataclass(frozen=True)
class Known:
    """The words a plan may use: each guest's names with its canonical one, and the policies."""

    aliases: Mapping[str, str]
    policies: tuple[str, ...]

    def guest(self, name: str) -> str:
        """Return the canonical name of a guest. Raises UsageError."""
        if name in self.aliases:
            return self.aliases[name]
        raise _unknown("guest", name, self.aliases)

    def policy(self, name: str) -> str:
        """Return the policy's name if it is one. Raises UsageError."""
        if name in self.policies:
            return name
        raise _unknown("policy", name, self.policies)

    def names(self, guest: str) -> tuple[str, ...]:
        """All names of the guest whose canonical name this is."""
        return (guest, *(alias for alias, name in self.aliases.items() if name == guest))


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Axes(_Table, frozen=True):
    guests: tuple[str, ...]
    limits: tuple[str, ...]
    policies: tuple[str, ...]


class _Pattern(_Table, frozen=True):
    guests: tuple[str, ...] = ("*",)
    limits: tuple[str, ...] = ("*",)
    policies: tuple[str, ...] = ("*",)


class _Expect(_Pattern, frozen=True, kw_only=True):
    path: verdict.Path
    outcome: Outcome
    status: int = 0
    message: str = ""


class _File(_Table, frozen=True):
    schema: Literal[1]
    name: str
    axes: _Axes
    description: str = ""
    exclude: tuple[_Pattern, ...] = ()
    include: tuple[_Axes, ...] = ()
    expect: tuple[_Expect, ...] = ()
    require: tuple[str, ...] = ()


@dataclass(frozen=True)
class Axes:
    """Three lists whose product is cells; guests by canonical name."""

    guests: tuple[str, ...]
    limits: tuple[Limits, ...]
    policies: tuple[str, ...]

    def product(self) -> Iterator[tuple[str, Limits, str]]:
        """Every combination, guests outermost."""
        return itertools.product(self.guests, self.limits, self.policies)


@dataclass(frozen=True)
class Pattern:
    """Which cells something applies to: one of each list has to match. Shell wildcards allowed."""

    guests: tuple[str, ...]
    limits: tuple[str, ...]
    policies: tuple[str, ...]

    def matches(self, names: Iterable[str], limits: Limits, policy: str) -> bool:
        """Does it apply to a cell whose guest has these names?"""
        return (
            any(fnmatchcase(name, each) for name in names for each in self.guests)
            and any(fnmatchcase(str(limits), each) for each in self.limits)
            and any(fnmatchcase(policy, each) for each in self.policies)
        )


@dataclass(frozen=True)
class PlanFile:
    """A plan that has been read and makes sense. `require` holds canonical names of guests."""

    source: Path
    name: str
    description: str
    axes: Axes
    exclude: tuple[Pattern, ...]
    include: tuple[Axes, ...]
    expect: tuple[tuple[Pattern, Expectation], ...]
    require: frozenset[str]
    known: Known = field(repr=False)

    def cells(
        self,
        guests: Sequence[str] = (),
        limits: Sequence[str] = (),
        policies: Sequence[str] = (),
    ) -> tuple[Cell, ...]:
        """Return the plan's cells in its order, each once.

        A list that is not empty replaces that axis, as `--guest`, `--limit` and `--policy` do; of
        what is included, that which is in the list is left. Raises UsageError for a word that is
        not known, or if no cell remains.
        """
        asked = Axes(
            tuple(self.known.guest(each) for each in guests),
            tuple(Limits.parse(each) for each in limits),
            tuple(self.known.policy(each) for each in policies),
        )
        axes = Axes(
            asked.guests or self.axes.guests,
            asked.limits or self.axes.limits,
            asked.policies or self.axes.policies,
        )
        planned = [each for each in axes.product() if not self._excluded(*each)]
        for more in self.include:
            planned += (
                (guest, limit, policy) for guest, limit, policy in more.product()
                if (not guests or guest in asked.guests)
                and (not limits or limit in asked.limits)
                and (not policies or policy in asked.policies)
            )  # fmt: skip
        cells = tuple(
            Cell(
                guest, limit, policy,
                declared=self._declared(guest, limit, policy), plan=self._called,
            )
            for guest, limit, policy in dict.fromkeys(planned)
        )  # fmt: skip
        if not cells:
            raise UsageError(
                f"{self.source}: no cell is left of plan {self.name}",
                "what was asked for is what its [[exclude]] takes away",
            )
        return cells

    @property
    def _called(self) -> str:
        """What to call this plan on the command line."""
        if self.source.parent != SHIPPED:
            return str(self.source)
        return "" if self.source.stem == DEFAULT else self.source.stem

    def _excluded(self, guest: str, limits: Limits, policy: str) -> bool:
        names = self.known.names(guest)
        return any(each.matches(names, limits, policy) for each in self.exclude)

    def _declared(self, guest: str, limits: Limits, policy: str) -> Expectation | None:
        names = self.known.names(guest)
        for pattern, expectation in self.expect:
            if pattern.matches(names, limits, policy):
                return expectation
        return None


def shipped() -> tuple[str, ...]:
    """Name the plans that come with Foothold."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def find(name_or_path: str) -> Path:
    """Return the file of a plan: a shipped plan's name, or a path. Raises UsageError."""
    if name_or_path in shipped():
        return SHIPPED / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    problem = "is a directory" if path.is_dir() else "there is no such plan"
    raise UsageError(
        f"{name_or_path}: {problem}",
        f"give the path of a TOML file, or a shipped plan: {', '.join(shipped())}",
    )


def load(path: Path, known: Known) -> PlanFile:
    """Read and check a plan. Raises UsageError for whatever is wrong with it."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1).decode()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: this is no TOML: {error.reason} at byte {error.start}"
        ) from error
    if len(text) > LARGEST:
        raise UsageError(f"{path}: a plan of more than {LARGEST} bytes", "is it the right file?")
    return _Reader(path, text, known).plan()


class _Reader:
    """Turns the text of one file into a plan; knows how to say where a mistake is."""

    def __init__(self, path: Path, text: str, known: Known) -> None:
        self._path = path
        self._text = text
        self._known = known

    def plan(self) -> PlanFile:
        file = self._decode()
        return PlanFile(
            self._path,
            file.name,
            file.description,
            self._axes(file.axes, "axes"),
            tuple(self._pattern(each, f"exclude[{n}]") for n, each in enumerate(file.exclude)),
            tuple(self._axes(each, f"include[{n}]") for n, each in enumerate(file.include)),
            tuple(
                (self._pattern(each, f"expect[{n}]"), self._expectation(each, f"expect[{n}]"))
                for n, each in enumerate(file.expect)
            ),
            frozenset(self._each(file.require, "require", self._known.guest)),
            self._known,
        )

    def _decode(self) -> _File:
        try:
            return msgspec.convert(tomllib.loads(self._text), type=_File)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{self._path}: this is no TOML: {error}") from error
        except msgspec.ValidationError as error:
            problem, _, place = str(error).partition(" - at `")
            key = place.rstrip("`").removeprefix("$").removeprefix(".")
            if match := re.search(r"unknown field `(.*)`", problem, re.DOTALL):
                raise self._wrong(key, match[1], _unknown("key", match[1], _keys(key))) from error
            if key == "schema":
                wrong = UsageError("this version of Foothold reads schema = 1 alone")
                raise self._wrong(key, "", wrong) from error
            if match := re.search(r"Invalid enum value '(.*)'", problem, re.DOTALL):
                words = verdict.Path if key.endswith("path") else Outcome
                wrong = _unknown(key.rpartition(".")[2], match[1], words)
                raise self._wrong(key, match[1], wrong) from error
            raise self._wrong(key, "", UsageError(_plain(problem))) from error

    def _axes(self, axes: _Axes, key: str) -> Axes:
        for name in ("guests", "limits", "policies"):
            if not getattr(axes, name):
                empty = UsageError("an empty axis makes no cell", "name at least one, or leave it")
                raise self._wrong(f"{key}.{name}", "", empty)
        return Axes(
            tuple(self._each(axes.guests, f"{key}.guests", self._known.guest)),
            tuple(self._each(axes.limits, f"{key}.limits", Limits.parse)),
            tuple(self._each(axes.policies, f"{key}.policies", self._known.policy)),
        )

    def _pattern(self, pattern: _Pattern, key: str) -> Pattern:
        """A word without wildcards has to be known; limits are brought to their one spelling."""
        guest = _wild(self._known.guest, self._known.aliases)
        limit = _wild(lambda text: str(Limits.parse(text)))
        policy = _wild(self._known.policy, self._known.policies)
        return Pattern(
            tuple(self._each(pattern.guests, f"{key}.guests", guest)),
            tuple(self._each(pattern.limits, f"{key}.limits", limit)),
            tuple(self._each(pattern.policies, f"{key}.policies", policy)),
        )

    def _expectation(self, expect: _Expect, key: str) -> Expectation:
        dies = expect.outcome is Outcome.DIES
        if dies != (expect.status != 0):
            wrong = "dies, so it needs a status" if dies else "allocates, so its status is 0"
            raise self._wrong(f"{key}.status", "", UsageError(f"the subject {wrong}"))
        if expect.path is verdict.Path.REFUSED and not dies:
            wrong = "nothing allocates where the reservation is refused"
            raise self._wrong(f"{key}.path", "", UsageError(wrong))
        return Expectation(
            expect.path, expect.outcome, expect.status, expect.message, f"{self._path.name}: {key}"
        )

    def _each(self, words: tuple[str, ...], key: str, read: Callable[[str], T]) -> Iterator[T]:
        for n, word in enumerate(words):
            try:
                yield read(word)
            except UsageError as error:
                raise self._wrong(f"{key}[{n}]", word, error) from error

    def _wrong(self, key: str, word: str, error: UsageError) -> UsageError:
        """Return the error with file, line and key before it."""
        line = _line(self._text, key, word)
        place = f"{self._path}:{line}" if line else str(self._path)
        return UsageError(f"{place}: {key}: {error}" if key else f"{place}: {error}", error.hint)


def _wild(read: Callable[[str], str], known: Collection[str] = ()) -> Callable[[str], str]:
    """Let shell wildcards pass if they match a known word; everything else is for `read`."""

    def check(word: str) -> str:
        if not set(word) & set("*?["):
            return read(word)
        if known and not any(fnmatchcase(each, word) for each in known):
            raise UsageError(f"{word!r} matches none of them", f"there is: {', '.join(known)}")
        return word

    return check


def _unknown(kind: str, word: str, known: Iterable[str]) -> UsageError:
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word, names, n=1)
    meant = f": did you mean {near[0]}?" if near else ""
    return UsageError(f"unknown {kind} {word!r}{meant}", f"there is: {', '.join(names)}")


_TABLES: Mapping[str, type[msgspec.Struct]] = {
    "": _File, "axes": _Axes, "exclude": _Pattern, "include": _Axes, "expect": _Expect,
}  # fmt: skip


def _keys(table: str) -> list[str]:
    """Name the keys of a table, which is given as msgspec does: `expect[...]`."""
    return [each.name for each in msgspec.structs.fields(_TABLES[table.partition("[")[0]])]


def _plain(problem: str) -> str:
    """Put msgspec's words for types into those of TOML."""
    plain = problem.replace("Object missing required field", "missing key").replace("`", "")
    return plain.replace("Expected array", "expected a list").replace("object", "table")


def _line(text: str, key: str, word: str) -> int:
    """Find the line on which a key, or a word in its value, stands; 0 if it cannot be told."""
    table, _, name = key.rpartition(".") if "." in key else ("", "", key)
    name = name.partition("[")[0]
    header, _, number = table.rstrip("]").partition("[")
    if not table and name in _TABLES:
        header, number, name = name, key.rstrip("]").partition("[")[2], ""
    lines = text.splitlines()
    start = 0
    if header:
        titles = [
            n for n, line in enumerate(lines)
            if re.match(rf"\s*\[+\s*{re.escape(header)}\s*\]+", line)
        ]  # fmt: skip
        if not titles:
            return 0
        start = titles[int(number)] if number.isdigit() and int(number) < len(titles) else titles[0]
    key_at = start
    for n in range(start, len(lines)):
        if name and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", lines[n]):
            key_at = n
            break
    else:
        if name:
            return start + 1 if header else 0
    for n in range(key_at, len(lines)):
        if word and re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", lines[n]):
            return n + 1
    return key_at + 1 if header or name else 0
