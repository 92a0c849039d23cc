"""The options of `run` and `plan` that stand for settings of a plan, and what they come to."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.plan import schema, value_types
from foothold_lab.harness.plan.schema import Option, Setting, Shape
from foothold_lab.harness.plan.value_types import FLAG, TAG

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.plan import PlanFile, Program, Selection, Shard

F = TypeVar("F", bound=Callable[..., Any])
_TAG = Setting(
    "tags", (), TAG, "", (), Shape.SET, option=Option("--tag", "T", "Only cells with this tag.")
)
_SETTABLE = [
    each for each in schema.SETTINGS if each.option and schema.EXCLUDE not in each.sections
]
# the axes first: that is what is asked for most
_CHOOSING = (*sorted((*_SETTABLE, _TAG), key=lambda each: schema.AXES not in each.sections),)
_OF_RUNS = ("require", "fresh", "retries", "jobs")  # what changes no cell
OF_PROGRAMS = tuple(
    each.key for each in _SETTABLE if each.sections == (schema.SUBJECT,)
)  # what describes a program of the user's


def plan_options(*, run: bool = False) -> Callable[[F], F]:
    """Add the options that choose cells to a command, which gets them as one argument, `asked`;
    with `run` also those that change no cell.
    """
    return setting_options(*(each.key for each in _CHOOSING if run or each.key not in _OF_RUNS))


def setting_options(*keys: str) -> Callable[[F], F]:
    """Add the options of these settings to a command, which gets them as one argument, `asked`."""
    chosen = [each for each in _CHOOSING if each.key in keys]

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def together(**given: Any) -> Any:
            mine = {each.key: given.pop(each.key) for each in chosen}
            return function(asked=Asked(mine), **given)

        for each in reversed(chosen):
            together = _option(each)(together)
        return cast("F", together)

    return decorate


def _option(setting: Setting) -> Callable[[F], F]:
    assert setting.option
    name, text = setting.option.name, setting.option.help or setting.help
    if setting.kind is FLAG:
        return click.option(f"{name}/{setting.option.off}", setting.key, default=None, help=text)
    short = (setting.option.short,) if setting.option.short else ()
    return click.option(
        *short,
        name,
        setting.key,
        metavar=setting.option.metavar,
        help=text,
        multiple=setting.shape is not Shape.ONE,
    )


@dataclass(frozen=True)
class Asked:
    """What was asked for, in the words of the command line, by the keys of settings."""

    words: Mapping[str, Any]

    def cells(
        self, plan: PlanFile, guests: tuple[str, ...] = ()
    ) -> tuple[PlanFile, tuple[Cell, ...]]:
        """Return the cells that were asked for, of these guests besides; and the plan, which also
        knows the program that was given. Raises UsageError.
        """
        plan, subjects = self.subjects(plan, self.words["subjects"])
        selection = self._selection(plan, guests, subjects)
        more = self.again("expect", "deadline", "trace")
        cells = plan.cells(selection)
        return plan, tuple(replace(each, asked=each.asked + more) for each in cells)

    def by_default(self, **words: tuple[str, ...]) -> Asked:
        """Return the same with these words for settings of which nothing was said."""
        return Asked({**self.words, **{key: self.words[key] or words[key] for key in words}})

    def again(self, *keys: str) -> tuple[str, ...]:
        """Return the words that give these settings, or all, as they were given."""
        return tuple(
            word for each in _CHOOSING if not keys or each.key in keys for word in self._words(each)
        )

    def _words(self, setting: Setting) -> Iterator[str]:
        assert setting.option
        name, given = setting.option.name, self.words.get(setting.key)
        if isinstance(given, bool):
            yield name if given else setting.option.off
        elif given is not None:
            for each in given if isinstance(given, tuple) else (given,):
                yield from (name, each)

    def value(self, key: str, plan: PlanFile) -> Any:
        """Return what was given for a setting, read; None if nothing was. Raises UsageError."""
        given = self.words[key]
        if given is None or isinstance(given, bool):
            return given
        return _all(key, given, plan) if isinstance(given, tuple) else _read(key, given, plan)

    def subjects(self, plan: PlanFile, asked: tuple[str, ...]) -> tuple[PlanFile, tuple[str, ...]]:
        """Return the names of the subjects that are asked for by these words, and the plan, which
        also knows the program among them. Raises UsageError.

        A name that the plan knows is that subject; a program of the same name is given by its path.
        """
        names: list[str] = []
        programs = 0
        for given in asked:
            if given in plan.known.all_subjects or value_types.is_wild(given):
                names += _all("subjects", (given,), plan)
                continue
            if "/" not in given and not shutil.which(given):
                try:
                    plan.known.subject(given)  # says which there are, and which is the nearest
                except UsageError as error:
                    raise UsageError(
                        str(error), f"{error.remedy}; or a program: ./{given}"
                    ) from None
            program = self._program(given, plan)
            try:
                plan = plan.with_program(program)
            except UsageError as error:
                remedy = "give the program another name, by a link"
                raise UsageError(f"--subject {given}: {error}", remedy) from error
            names.append(program.name)
            programs += 1
        described = self.again(*OF_PROGRAMS)
        if described and programs != 1:
            raise UsageError(
                f"{described[0]} is for a program of yours", "name one with --subject PROGRAM"
            )
        return plan, tuple(names)

    def _program(self, given: str, plan: PlanFile) -> Program:
        from foothold_lab.harness.plan import Program
        from foothold_lab.harness.subjects.subject import called

        said = {key: self.value(key, plan) for key in OF_PROGRAMS}
        return Program(
            called(given),
            given,
            asked=("--subject", given, *self.again(*OF_PROGRAMS)),
            **{key: value for key, value in said.items() if value is not None},
        )

    def _selection(
        self, plan: PlanFile, guests: tuple[str, ...], subjects: tuple[str, ...]
    ) -> Selection:
        from foothold_lab.harness.plan import Axes, CellSettings, Selection

        axes: dict[str, tuple[Any, ...]] = {
            each.name: tuple(dict.fromkeys(self.value(each.name, plan)))
            for each in fields(Axes)
            if each.name != "subjects"
        }
        axes["guests"] = (*guests, *axes["guests"])
        ways = {key: self.value(key, plan) for key in ("repeats", "deadline", "trace")}
        return Selection(
            Axes(subjects=tuple(dict.fromkeys(subjects)), **axes),
            self.value("tags", plan),
            CellSettings(**ways),
            self.value("expect", plan),
        )


def _all(key: str, words: tuple[str, ...], plan: PlanFile) -> tuple[Any, ...]:
    """Read each of several words; a pattern that stands for several is all of them."""
    values = (_read(key, each, plan) for each in words)
    return tuple(itertools.chain(*(v if isinstance(v, tuple) else (v,) for v in values)))


def _read(key: str, word: str, plan: PlanFile) -> object:
    [setting] = [each for each in _CHOOSING if each.key == key]
    assert setting.option
    try:
        return setting.kind.read(setting.kind.of_word(word), plan.known)
    except UsageError as error:
        remedy = error.remedy or "`foothold run --help` says what there is"
        raise UsageError(f"{setting.option.name}: {error}", remedy) from error


shard_option = click.option(
    "--shard", metavar="I/N", help="Only this part of N equal ones, for machines side by side."
)


def chosen_shard(text: str | None) -> Shard:
    """Return the part of a plan that `--shard` asks for: all, if it was not given. Raises
    UsageError.
    """
    from foothold_lab.harness.plan import Shard

    try:
        return Shard.parse(text or "1/1")
    except UsageError as error:
        raise UsageError(f"--shard: {error}", error.remedy) from error
