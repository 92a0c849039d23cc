"""Turns a file into a plan, section by section, as the table of settings describes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foothold_lab.harness.model.cells import ALLOCATOR, OF_GUEST
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath
from foothold_lab.harness.plan import schema
from foothold_lab.harness.plan.model import STARTS, Axes, CellSettings, Pattern, Program
from foothold_lab.harness.plan.planfile import PlanFile
from foothold_lab.harness.plan.schema import REQUIRED, SECTIONS, Section, Setting, Shape
from foothold_lab.harness.plan.toml_source import Place, Source
from foothold_lab.harness.plan.validate import validate_plan
from foothold_lab.harness.plan.value_types import display, wrong_type
from foothold_lab.harness.plan.vocabulary import Vocabulary, unknown_word

_ALLOCATOR_ONLY = ("policies", "workloads")
_REPORTED = ("path", "outcome", "status", "message")


def load_plan(path: Path, vocabulary: Vocabulary) -> PlanFile:
    """Read and check a plan. Raises UsageError for the first mistake in it."""
    return _Reader(Source(path), vocabulary).plan()


@dataclass(frozen=True)
class _Table:
    """A table of the file: a value for each setting of its section, and the keys that are given."""

    place: Place
    values: Mapping[str, Any]
    given: frozenset[str]

    def at(self, key: str) -> Place:
        return replace(self.place, key=key)

    def pick(self, *keys: str) -> dict[str, Any]:
        return {key: self.values[key] for key in keys}


class _Reader:
    """Turns the text of one file into a plan. Every error carries its place."""

    def __init__(self, source: Source, vocabulary: Vocabulary) -> None:
        self._source = source
        self._vocabulary = vocabulary
        self._file = source.tables()

    def plan(self) -> PlanFile:
        for each in self._tables(schema.MACHINE):
            self._machine(each)
        top = self._table(schema.PLAN, self._file, Place())
        programs = {each.name: each for each in map(self._program, self._tables(schema.SUBJECT))}
        [axes] = self._tables(schema.AXES)
        plan = PlanFile(
            source=self._source.path,
            axes=self._axes(axes),
            exclude=tuple(map(_pattern, self._tables(schema.EXCLUDE))),
            include=tuple(map(self._axes, self._tables(schema.INCLUDE))),
            expect=tuple(map(self._expect, self._tables(schema.EXPECT))),
            overrides=tuple(map(self._override, self._tables(schema.OVERRIDE))),
            programs=programs,
            settings=_cell_settings(top),
            vocabulary=self._vocabulary,
            require=frozenset(top.values["require"]),
            **top.pick("name", "description", "jobs", "boot_per_cell", "retries"),
        )
        required = top.values["require_expectations"]
        validate_plan(plan, self._source, require_expectations=required)
        return plan

    def _tables(self, key: str) -> Iterator[_Table]:
        """Yield the tables of a section, as many as there are."""
        section = SECTIONS[key]
        if key not in self._file:
            if section.required:
                remedy = f"add {section.title} with {_required_keys(key)}"
                raise self._error(Place(), UsageError(f"missing table {section.title}", remedy))
            return
        found = self._file[key]
        which: Iterable[tuple[int | str | None, Any]]
        if section.shape is Shape.ONE:
            which = [(None, found)]
        elif section.shape is Shape.LIST and isinstance(found, list):
            which = enumerate(found)
        elif section.shape is Shape.NAMED and isinstance(found, dict):
            which = found.items()
        else:
            expected = "tables" if section.shape is Shape.LIST else "tables by name"
            error = str(wrong_type(expected, found))
            raise self._error(Place(section=key), UsageError(error, f"write {section.title}"))
        for each, table in which:
            yield self._table(key, table, Place(section=key, which=each))

    def _table(self, key: str, found: object, place: Place) -> _Table:
        """Read one table: check its keys, and parse every value."""
        section = SECTIONS[key]
        if not isinstance(found, dict):
            error = wrong_type("a table", found)
            raise self._error(place, UsageError(str(error), f"write {section.title}"))
        settings = {each.key: each for each in schema.settings_of(key)}
        self._check_keys(section, settings, found, place)
        values = {
            name: self._value(setting, found[name], replace(place, key=name))
            if name in found
            else self._default(setting, place)
            for name, setting in settings.items()
        }
        return _Table(place, values, frozenset(found))

    def _check_keys(
        self,
        section: Section,
        settings: Mapping[str, Setting],
        found: Mapping[str, Any],
        place: Place,
    ) -> None:
        sections = [] if section.key else [key for key in SECTIONS if key]
        for key in found:
            if key not in settings and key not in sections:
                is_table = not section.key and _is_table(found[key])
                noun = "table" if is_table else "key"
                error = _misplaced(key, section) or unknown_word(noun, key, [*settings, *sections])
                raise self._error(
                    Place(section=key) if is_table else replace(place, word=key), error
                )

    def _default(self, setting: Setting, place: Place) -> object:
        if setting.default is REQUIRED:
            remedy = f"add it: {setting.help}"
            raise self._error(place, UsageError(f"missing key {setting.key!r}", remedy))
        if isinstance(setting.default, tuple):
            return tuple(self._parse(setting, each, place) for each in setting.default)
        return setting.default

    def _value(self, setting: Setting, found: Any, place: Place) -> object:
        """Parse the value of a setting."""
        if setting.shape is Shape.ONE:
            return self._parse(setting, found, place)
        if setting.shape is not Shape.NAMED:
            return self._list(setting, found, place)
        if not isinstance(found, dict):
            raise self._error(place, wrong_type("a table of strings", found))
        return tuple(
            self._parse(
                setting,
                f"{key}={each}" if isinstance(each, str) else each,
                replace(place, word=key),
            )
            for key, each in found.items()
        )

    def _list(self, setting: Setting, found: Any, place: Place) -> tuple[object, ...]:
        """Parse each value of a list. A pattern becomes all names that it matches."""
        if not isinstance(found, list):
            remedy = f'write ["{found}"]' if isinstance(found, str) else ""
            raise self._error(place, UsageError(str(wrong_type("a list", found)), remedy))
        values: list[object] = []
        seen: set[object] = set()
        for n, each in enumerate(found):
            here = replace(place, nth=n, word=each if isinstance(each, str) else display(each))
            value = self._parse(setting, each, here)
            if setting.shape is Shape.SET and value in seen:
                error = UsageError(
                    f"{value} is listed already, under this name or another", "list each once"
                )
                raise self._error(here, error)
            for one in value if isinstance(value, tuple) else (value,):
                if setting.shape is Shape.LIST or one not in seen:
                    values.append(one)
                seen.add(one)
        return tuple(values)

    def _parse(self, setting: Setting, found: object, place: Place) -> object:
        try:
            return setting.value_type.parse(found, self._vocabulary)
        except UsageError as error:
            raise self._error(place, error) from error

    def _axes(self, table: _Table) -> Axes:
        subjects = table.values["subjects"]
        for key, found in table.values.items():
            if not found:
                error = UsageError("an empty list makes no cells", "add a value, or remove the key")
                raise self._error(table.at(key), error)
            if key in _ALLOCATOR_ONLY and key in table.given and ALLOCATOR not in subjects:
                error = UsageError(
                    f"only the allocator has {key}, and it is not among the subjects",
                    f"add the subject {ALLOCATOR}, or remove {key}",
                )
                raise self._error(table.at(key), error)
        return Axes(**table.values)

    def _program(self, table: _Table) -> Program:
        """Read a `[subject.NAME]`. Paths are relative to the plan, a bare name is left to $PATH."""
        name = str(table.place.which)
        values = dict(table.values)
        try:
            self._vocabulary = self._vocabulary.with_subject(name, values["program"])
        except UsageError as error:
            raise self._error(table.place, error) from error
        directory = self._source.path.absolute().parent  # a name in $PATH has no slash
        if "/" in values["program"] and not values["program"].startswith(OF_GUEST):
            values["program"] = str(directory / values["program"])
        values["files"] = tuple(str(directory / each) for each in values["files"])
        for key in ("sysroot", "stdin"):
            values[key] = str(directory / values[key]) if values[key] else ""
        values["expect"] = self._with_reason(values["expect"] or STARTS, table.at("expect"))
        return Program(name=name, **values)

    def _machine(self, table: _Table) -> None:
        """Read a `[guest.NAME]`: its name is a guest from here on."""
        try:
            name, address = str(table.place.which), table.values["ssh"]
            self._vocabulary = self._vocabulary.with_machine(name, address)
        except UsageError as error:
            raise self._error(table.place, error) from error

    def _override(self, table: _Table) -> tuple[Pattern, CellSettings]:
        keys = ("tags", "repeats", "deadline", "trace")
        if not table.given & set(keys):
            error = UsageError("it sets nothing", f"add one of {', '.join(keys)}, or remove it")
            raise self._error(table.place, error)
        return _pattern(table), _cell_settings(table)

    def _expect(self, table: _Table) -> tuple[Pattern, Expectation]:
        """Read an `[[expect]]`.

        It has either the key `expect`, for any subject, or path, outcome and so on, which only the
        allocator reports.
        """
        pattern = _pattern(table)
        expected = table.values["expect"]
        reported = [key for key in _REPORTED if key in table.given]
        if expected and reported:
            error = UsageError(f"both expect and {reported[0]} are given", "remove one of them")
            raise self._error(table.at("expect"), error)
        if expected:
            return pattern, self._with_reason(expected, table.at("expect"))
        for key in ("path", "outcome"):
            if key not in table.given:
                remedy = 'give path and outcome, or expect = "starts"'
                raise self._error(table.place, UsageError(f"missing key {key!r}", remedy))
        if "subjects" not in table.given:
            pattern = replace(pattern, subjects=(ALLOCATOR,))
        elif pattern.subjects != (ALLOCATOR,):
            error = UsageError(
                "only the allocator reports path and outcome",
                'for a program, write expect = "starts", "path:high" or "dies:REGEX"',
            )
            raise self._error(table.at("subjects"), error)
        return pattern, self._with_reason(self._reported(table), table.place)

    def _reported(self, table: _Table) -> Expectation:
        expected = Expectation(**table.pick(*_REPORTED))
        if expected.outcome is Outcome.DIES and not expected.status:
            error = UsageError(
                'outcome = "dies" needs a status', "write status = 2 for the runtime"
            )
            raise self._error(table.at("status"), error)
        if expected.outcome is not Outcome.DIES:
            for key in ("status", "message"):
                if getattr(expected, key):
                    error = UsageError(f'{key} is only for outcome = "dies"', f"remove {key}")
                    raise self._error(table.at(key), error)
            if expected.path is ReservationPath.REFUSED:
                error = UsageError(
                    "an allocator whose reservation is refused cannot allocate",
                    'write outcome = "dies"',
                )
                raise self._error(table.at("path"), error)
        return expected

    def _with_reason(self, expected: Expectation, place: Place) -> Expectation:
        """Return an expectation of the file with its place, and the output that it names."""
        try:
            expected = expected.with_output_read(self._source.path.parent)
        except UsageError as error:
            raise self._error(place, error) from error
        return replace(expected, reason=f"{self._source.path.name}: {place}")

    def _error(self, place: Place, error: UsageError) -> UsageError:
        return self._source.error_at(place, error)


def _pattern(table: _Table) -> Pattern:
    return Pattern(**table.pick("guests", "limits", "subjects", "policies", "workloads"))


def _cell_settings(table: _Table) -> CellSettings:
    return CellSettings(**table.pick("tags", "repeats", "deadline", "trace"))


def _misplaced(key: str, section: Section) -> UsageError | None:
    """Return the error for a key that belongs into another section; None if none has it."""
    places = [
        SECTIONS[each]
        for setting in schema.SETTINGS
        if setting.key == key
        for each in setting.sections
    ]
    if not places:
        return None
    where = ", ".join(dict.fromkeys(map(_name_of, places)))
    return UsageError(f"{key!r} is not allowed {_name_of(section)}", f"it belongs {where}")


def _name_of(section: Section) -> str:
    return f"in {section.title}" if section.title else "at the top level"


def _is_table(found: object) -> bool:
    return isinstance(found, dict) or (
        isinstance(found, list) and bool(found) and isinstance(found[0], dict)
    )


def _required_keys(section: str) -> str:
    settings = schema.settings_of(section)
    return ", ".join(each.key for each in settings if each.default is REQUIRED)
