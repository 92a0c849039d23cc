"""From a file to a plan that makes sense; whatever does not is told with its line and remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from harness import verdict
from harness.cells import ALLOCATOR, Limits
from harness.errors import UsageError
from harness.plan.values import Axes, Pattern, PlanFile, Program
from harness.plan.words import Known, unknown, wild, workload
from harness.verdict import Expectation, Outcome

T = TypeVar("T")
LARGEST = 1 << 20  # bytes; nobody writes a longer plan by hand


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Axes(_Table, frozen=True):
    guests: tuple[str, ...]
    limits: tuple[str, ...] = ("none",)
    policies: tuple[str, ...] | None = None
    subjects: tuple[str, ...] = (ALLOCATOR,)
    workloads: tuple[str, ...] | None = None


class _Pattern(_Table, frozen=True):
    guests: tuple[str, ...] = ("*",)
    limits: tuple[str, ...] = ("*",)
    policies: tuple[str, ...] = ("*",)
    subjects: tuple[str, ...] = ("*",)
    workloads: tuple[str, ...] = ("*",)


class _Expect(_Pattern, frozen=True, kw_only=True):
    path: verdict.Path | None = None
    outcome: Outcome | None = None
    status: int = 0
    message: str = ""
    expect: str = ""


class _Subject(_Table, frozen=True):
    program: str
    args: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    env: dict[str, str] = {}
    root: Literal["image", "host"] = "image"
    patience: float | None = None
    sysroot: str = ""
    expect: str = "starts"


class _File(_Table, frozen=True):
    schema: Literal[1]
    name: str
    axes: _Axes
    description: str = ""
    exclude: tuple[_Pattern, ...] = ()
    include: tuple[_Axes, ...] = ()
    expect: tuple[_Expect, ...] = ()
    require: tuple[str, ...] = ()
    subject: dict[str, _Subject] = {}


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
        self._subjects: tuple[str, ...] = ()

    def plan(self) -> PlanFile:
        file = self._decode()
        programs = {name: self._program(name, each) for name, each in file.subject.items()}
        self._subjects = (ALLOCATOR, *programs, *self._known.subjects)
        return PlanFile(
            self._path,
            file.name,
            file.description,
            self._axes(file.axes, "axes"),
            tuple(self._pattern(each, f"exclude[{n}]") for n, each in enumerate(file.exclude)),
            tuple(self._axes(each, f"include[{n}]") for n, each in enumerate(file.include)),
            tuple(self._expect(each, f"expect[{n}]") for n, each in enumerate(file.expect)),
            frozenset(self._each(file.require, "require", self._known.guest)),
            programs,
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
                raise self._wrong(key, match[1], unknown("key", match[1], _keys(key))) from error
            if key == "schema":
                wrong = UsageError("this version of Foothold reads schema = 1 alone")
                raise self._wrong(key, "", wrong) from error
            if match := re.search(r"Invalid enum value '(.*)'", problem, re.DOTALL):
                words = verdict.Path if key.endswith("path") else Outcome
                wrong = unknown(key.rpartition(".")[2], match[1], words)
                raise self._wrong(key, match[1], wrong) from error
            raise self._wrong(key, "", UsageError(_plain(problem))) from error

    def _axes(self, axes: _Axes, key: str) -> Axes:
        for name in ("guests", "limits", "policies", "subjects", "workloads"):
            if getattr(axes, name) == ():
                empty = UsageError("an empty axis makes no cell", "name at least one, or leave it")
                raise self._wrong(f"{key}.{name}", "", empty)
            own = name in ("policies", "workloads") and getattr(axes, name) is not None
            if own and ALLOCATOR not in axes.subjects:
                alone = UsageError(
                    "only the allocator has any, and it is not among the subjects",
                    "add the subject allocator, or leave it",
                )
                raise self._wrong(f"{key}.{name}", "", alone)
        return Axes(
            tuple(self._each(axes.guests, f"{key}.guests", self._known.guest)),
            tuple(self._each(axes.limits, f"{key}.limits", Limits.parse)),
            tuple(self._each(axes.policies or ("after",), f"{key}.policies", self._known.policy)),
            tuple(self._each(axes.subjects, f"{key}.subjects", self._subject)),
            tuple(self._each(axes.workloads or ("default",), f"{key}.workloads", workload)),
        )

    def _pattern(self, pattern: _Pattern, key: str) -> Pattern:
        """A word without wildcards has to be known; limits are brought to their one spelling."""
        guest = wild(self._known.guest, self._known.aliases)
        limit = wild(lambda text: str(Limits.parse(text)))
        policy = wild(self._known.policy, self._known.policies)
        subject = wild(self._subject, self._subjects)
        return Pattern(
            tuple(self._each(pattern.guests, f"{key}.guests", guest)),
            tuple(self._each(pattern.limits, f"{key}.limits", limit)),
            tuple(self._each(pattern.policies, f"{key}.policies", policy)),
            tuple(self._each(pattern.subjects, f"{key}.subjects", subject)),
            tuple(self._each(pattern.workloads, f"{key}.workloads", wild(workload))),
        )

    def _subject(self, name: str) -> str:
        if name in self._subjects:
            return name
        raise unknown("subject", name, self._subjects)

    def _program(self, name: str, table: _Subject) -> Program:
        """Paths are relative to the plan; a program without a slash is looked for as by a shell."""
        key = f"subject.{name}"
        taken = {
            ALLOCATOR: "that of the allocator",
            **dict.fromkeys(self._known.policies, "a policy"),
        }
        taken |= dict.fromkeys(self._known.subjects, "that of a packaged subject")
        if name in taken:
            shadowed = UsageError(f"this name is {taken[name]}", "give it another name")
            raise self._wrong(key, "", shadowed)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            odd = UsageError(f"{name!r} is no name", "use letters, digits, and . _ - within it")
            raise self._wrong(key, "", odd)
        here = self._path.parent
        return Program(
            name,
            str(here / table.program) if "/" in table.program else table.program,
            table.args,
            tuple(str(here / each) for each in table.files),
            tuple(f"{name}={value}" for name, value in table.env.items()),
            table.root,
            table.patience,
            self._words(table.expect, f"{key}.expect"),
            str(here / table.sysroot) if table.sysroot else "",
        )

    def _expect(self, expect: _Expect, key: str) -> tuple[Pattern, Expectation]:
        """One key `expect`, for any subject; or path, outcome and so on, which the allocator
        reports, and which are meant of the allocator alone.
        """
        pattern = self._pattern(expect, key)
        if expect.expect:
            if expect.path or expect.outcome or expect.status or expect.message:
                both = UsageError("give this, or path, outcome, status and message, not both")
                raise self._wrong(f"{key}.expect", "", both)
            return pattern, self._words(expect.expect, f"{key}.expect")
        if expect.path is None or expect.outcome is None:
            lacking = "outcome" if expect.path else "path"
            raise self._wrong(key, "", UsageError(
                f"missing key {lacking}", "give path and outcome, or expect = \"starts\""
            ))  # fmt: skip
        if pattern.subjects == ("*",):
            pattern = replace(pattern, subjects=(ALLOCATOR,))
        elif pattern.subjects != (ALLOCATOR,):
            others = UsageError(
                "path and outcome are what the allocator reports",
                'of a program write expect = "starts", "path:high" or "dies:REGEX"',
            )
            raise self._wrong(f"{key}.subjects", "", others)
        return pattern, self._expectation(expect, key)

    def _words(self, text: str, key: str) -> Expectation:
        try:
            return replace(Expectation.parse(text), reason=f"{self._path.name}: {key}")
        except ValueError as error:
            raise self._wrong(key, "", UsageError(str(error))) from error

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


_TABLES: Mapping[str, type[msgspec.Struct]] = {
    "": _File, "axes": _Axes, "exclude": _Pattern, "include": _Axes, "expect": _Expect,
    "subject": _Subject,
}  # fmt: skip


def _keys(table: str) -> list[str]:
    """Name the keys of a table, which is given as msgspec does: `expect[...]`."""
    return [each.name for each in msgspec.structs.fields(_TABLES[re.split(r"[.[]", table)[0]])]


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
    if table == "subject":  # a name's own table
        header, name = key, ""
    title = r"\s*\.\s*".join(f"[\"']?{re.escape(each)}[\"']?" for each in header.split(".", 1))
    lines = text.splitlines()
    start = 0
    if header:
        titles = [
            n for n, line in enumerate(lines)
            if re.match(rf"\s*\[+\s*{title}\s*\]+", line)
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
