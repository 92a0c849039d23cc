"""From a file to a plan, section by section, as the table of settings says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foothold_lab.harness.model import verdict
from foothold_lab.harness.model.cells import ALLOCATOR
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.verdict import Expectation, Outcome
from foothold_lab.harness.plan import schema
from foothold_lab.harness.plan.model import STARTS, Axes, CellSettings, Pattern, Program
from foothold_lab.harness.plan.planfile import PlanFile
from foothold_lab.harness.plan.schema import REQUIRED, SECTIONS, Section, Setting, Shape
from foothold_lab.harness.plan.toml_source import Place, Source
from foothold_lab.harness.plan.validate import check
from foothold_lab.harness.plan.value_types import unlike, written
from foothold_lab.harness.plan.vocabulary import Known, unknown

_ALLOCATORS = ("policies", "workloads")
_REPORTED = ("path", "outcome", "status", "message")


def load(path: Path, known: Known) -> PlanFile:
    """Read and check a plan. Raises UsageError for whatever is wrong with it."""
    return _Reader(Source(path), known).plan()


@dataclass(frozen=True)
class _Table:
    """One table of a file: a value for each setting of its section, and those that were given."""

    place: Place
    values: Mapping[str, Any]
    given: frozenset[str]

    def at(self, key: str) -> Place:
        return replace(self.place, key=key)

    def only(self, *keys: str) -> dict[str, Any]:
        return {key: self.values[key] for key in keys}


class _Reader:
    """Turns the text of one file into a plan; every mistake gets its place."""

    def __init__(self, source: Source, known: Known) -> None:
        self._source = source
        self._known = known
        self._file = source.tables()

    def plan(self) -> PlanFile:
        top = self._table(schema.PLAN, self._file, Place())
        programs = {each.name: each for each in map(self._program, self._tables(schema.SUBJECT))}
        [axes] = self._tables(schema.AXES)
        plan = PlanFile(
            source=self._source.path,
            axes=self._axes(axes),
            exclude=tuple(map(_pattern, self._tables(schema.EXCLUDE))),
            include=tuple(map(self._axes, self._tables(schema.INCLUDE))),
            expect=tuple(map(self._expect, self._tables(schema.EXPECT))),
            by_pattern=tuple(map(self._cells, self._tables(schema.CELLS))),
            programs=programs,
            ways=_ways(top),
            known=self._known,
            require=frozenset(top.values["require"]),
            **top.only("name", "description", "jobs", "fresh", "retries"),
        )
        check(plan, self._source, complete=top.values["complete"])
        return plan

    def _tables(self, section: str) -> Iterator[_Table]:
        """Read the tables of a section, as many as there are."""
        this = SECTIONS[section]
        if section not in self._file:
            if this.required:
                remedy = f"add {this.title}; it needs {_needs(section)}"
                raise self._wrong(Place(), UsageError(f"missing table {this.title}", remedy))
            return
        found = self._file[section]
        which: Iterable[tuple[int | str | None, Any]]
        if this.shape is Shape.ONE:
            which = [(None, found)]
        elif this.shape is Shape.LIST and isinstance(found, list):
            which = enumerate(found)
        elif this.shape is Shape.NAMED and isinstance(found, dict):
            which = found.items()
        else:
            what = "tables" if this.shape is Shape.LIST else "tables by name"
            error = str(unlike(what, found))
            raise self._wrong(Place(section), UsageError(error, f"write {this.title}"))
        for each, table in which:
            yield self._table(section, table, Place(section, each))

    def _table(self, section: str, found: object, place: Place) -> _Table:
        """Read one table: nothing in it that is not known, every value of its kind."""
        this = SECTIONS[section]
        if not isinstance(found, dict):
            error = unlike("a table", found)
            raise self._wrong(place, UsageError(str(error), f"write {this.title}"))
        own = {each.key: each for each in schema.of_section(section)}
        sections = [key for key in SECTIONS if key] if not section else []
        for key in found:
            if key not in own and key not in sections:
                is_table = not section and _is_table(found[key])
                kind = "table" if is_table else "key"
                error = _misplaced(key, this) or unknown(kind, key, [*own, *sections])
                raise self._wrong(Place(key) if is_table else replace(place, word=key), error)
        values: dict[str, Any] = {}
        for key, setting in own.items():
            if key in found:
                values[key] = self._value(setting, found[key], replace(place, key=key))
            elif setting.default is REQUIRED:
                remedy = f"it is needed: {setting.help}"
                raise self._wrong(place, UsageError(f"missing key {key!r}", remedy))
            elif isinstance(setting.default, tuple):
                words = (self._read(setting, each, place) for each in setting.default)
                values[key] = tuple(words)
            else:
                values[key] = setting.default
        return _Table(place, values, frozenset(found))

    def _value(self, setting: Setting, found: Any, place: Place) -> object:
        """Read one value, or each of several."""
        if setting.shape is Shape.ONE:
            return self._read(setting, found, place)
        if setting.shape is Shape.NAMED:
            if not isinstance(found, dict):
                raise self._wrong(place, unlike("a table of texts", found))
            return tuple(
                self._read(
                    setting,
                    f"{key}={each}" if isinstance(each, str) else each,
                    replace(place, word=key),
                )
                for key, each in found.items()
            )
        return self._list(setting, found, place)

    def _list(self, setting: Setting, found: Any, place: Place) -> tuple[object, ...]:
        """Read each value of a list; a pattern that stands for several is all of them."""
        if not isinstance(found, list):
            remedy = f'write ["{found}"]' if isinstance(found, str) else ""
            raise self._wrong(place, UsageError(str(unlike("a list", found)), remedy))
        values: list[object] = []
        seen: set[object] = set()
        for n, each in enumerate(found):
            here = replace(place, nth=n, word=each if isinstance(each, str) else written(each))
            value = self._read(setting, each, here)
            if setting.shape is Shape.SET and value in seen:
                same = f"{value} is there already, by this name or another"
                raise self._wrong(here, UsageError(same, "name each once"))
            for one in value if isinstance(value, tuple) else (value,):
                if setting.shape is Shape.LIST or one not in seen:
                    values.append(one)
                seen.add(one)
        return tuple(values)

    def _read(self, setting: Setting, found: object, place: Place) -> object:
        try:
            return setting.kind.read(found, self._known)
        except UsageError as error:
            raise self._wrong(place, error) from error

    def _axes(self, table: _Table) -> Axes:
        subjects = table.values["subjects"]
        for key, found in table.values.items():
            if not found:
                empty = UsageError("an empty axis makes no cell", "name at least one, or leave it")
                raise self._wrong(table.at(key), empty)
            if key in _ALLOCATORS and key in table.given and ALLOCATOR not in subjects:
                alone = UsageError(
                    f"only the allocator has {key}, and it is not among the subjects",
                    f"add the subject {ALLOCATOR}, or leave it",
                )
                raise self._wrong(table.at(key), alone)
        return Axes(**table.values)

    def _program(self, table: _Table) -> Program:
        """Paths are relative to the plan; a program without a slash is looked for as by a shell."""
        name = str(table.place.which)
        values = dict(table.values)
        try:
            self._known = self._known.with_subject(name, values["program"])
        except UsageError as error:
            raise self._wrong(table.place, error) from error
        here = self._source.path.parent
        if "/" in values["program"]:
            values["program"] = str(here / values["program"])
        values["files"] = tuple(str(here / each) for each in values["files"])
        values["sysroot"] = str(here / values["sysroot"]) if values["sysroot"] else ""
        values["expect"] = self._because(values["expect"] or STARTS, table.at("expect"))
        return Program(name, **values)

    def _cells(self, table: _Table) -> tuple[Pattern, CellSettings]:
        if not table.given & {"tags", "repeats", "deadline", "trace"}:
            nothing = UsageError("this says nothing of the cells that match", "say something")
            raise self._wrong(table.place, nothing)
        return _pattern(table), _ways(table)

    def _expect(self, table: _Table) -> tuple[Pattern, Expectation]:
        """One key `expect`, for any subject; or path, outcome and so on, which the allocator
        reports, and which are meant of the allocator alone.
        """
        pattern = _pattern(table)
        one = table.values["expect"]
        reported = [key for key in _REPORTED if key in table.given]
        if one and reported:
            both = UsageError(f"both this and {reported[0]} are given", "leave one of them")
            raise self._wrong(table.at("expect"), both)
        if one:
            return pattern, self._because(one, table.at("expect"))
        for key in ("path", "outcome"):
            if key not in table.given:
                remedy = 'give path and outcome, or expect = "starts"'
                raise self._wrong(table.place, UsageError(f"missing key {key!r}", remedy))
        if "subjects" not in table.given:
            pattern = replace(pattern, subjects=(ALLOCATOR,))
        elif pattern.subjects != (ALLOCATOR,):
            others = UsageError(
                "path and outcome are what the allocator reports",
                'of a program write expect = "starts", "path:high" or "dies:REGEX"',
            )
            raise self._wrong(table.at("subjects"), others)
        return pattern, self._because(self._reported(table), table.place)

    def _reported(self, table: _Table) -> Expectation:
        one = Expectation(**table.only(*_REPORTED))
        if one.outcome is Outcome.DIES and not one.status:
            dies = UsageError("the subject dies, so it needs a status", "the runtime's is 2")
            raise self._wrong(table.at("status"), dies)
        if one.outcome is not Outcome.DIES:
            for key in ("status", "message"):
                if getattr(one, key):
                    wrong = UsageError(f"the subject allocates, so it has no {key}", "leave it")
                    raise self._wrong(table.at(key), wrong)
            if one.path is verdict.ReservationPath.REFUSED:
                nothing = UsageError(
                    "nothing allocates where the reservation is refused", 'outcome = "dies"?'
                )
                raise self._wrong(table.at("path"), nothing)
        return one

    def _because(self, one: Expectation, place: Place) -> Expectation:
        return replace(one, reason=f"{self._source.path.name}: {place}")

    def _wrong(self, place: Place, error: UsageError) -> UsageError:
        return self._source.wrong(place, error)


def _pattern(table: _Table) -> Pattern:
    return Pattern(**table.only("guests", "limits", "subjects", "policies", "workloads"))


def _ways(table: _Table) -> CellSettings:
    return CellSettings(**table.only("tags", "repeats", "deadline", "trace"))


def _misplaced(key: str, section: Section) -> UsageError | None:
    """Return what to say of a key that there is, but not here."""
    at = [SECTIONS[each] for one in schema.SETTINGS if one.key == key for each in one.sections]
    where = ", ".join(dict.fromkeys(map(_where, at)))
    return (
        UsageError(f"{key!r} cannot stand {_where(section)}", f"it stands {where}") if at else None
    )


def _where(section: Section) -> str:
    return f"in {section.title}" if section.title else "above all tables"


def _is_table(found: object) -> bool:
    return isinstance(found, dict) or (
        isinstance(found, list) and bool(found) and isinstance(found[0], dict)
    )


def _needs(section: str) -> str:
    return ", ".join(each.key for each in schema.of_section(section) if each.default is REQUIRED)
