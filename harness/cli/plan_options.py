"""Options of `run`, `plan` and others that override settings of a plan, and what they select."""

from __future__ import annotations

import itertools
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foothold_lab.harness.cli.parameters import gather
from foothold_lab.harness.model.errors import UsageError, did_you_mean
from foothold_lab.harness.model.secret_values import mask_arguments
from foothold_lab.harness.model.ssh_address import split_machine
from foothold_lab.harness.plan import schema, value_types
from foothold_lab.harness.plan.schema import Option, Setting, Shape
from foothold_lab.harness.plan.value_types import FLAG, TAG

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.model.verdict import Expectation
    from foothold_lab.harness.plan import PlanFile, Program, Selection, Shard

F = TypeVar("F", bound=Callable[..., Any])

_TAG = Setting(
    key="tags",
    sections=(),
    value_type=TAG,
    help="",
    default=(),
    shape=Shape.SET,
    option=Option(
        name="--tag", metavar="TAG", help="Run only cells with this tag of the plan; repeatable."
    ),
)
_WITH_OPTION = (
    *(each for each in schema.SETTINGS if each.option and schema.EXCLUDE not in each.sections),
    _TAG,
)
# the axes first: Overrides.arguments() writes options in this order
_SETTINGS: Mapping[str, Setting] = {
    each.key: each
    for each in sorted(_WITH_OPTION, key=lambda each: schema.AXES not in each.sections)
}
_MAY_BE_EMPTY = "args"  # an argument of a program
# settings that change how a run is done, but not its cells
_OF_RUNS = ("require", "boot_per_cell", "retries", "jobs")
# settings that describe a program given by --subject
OF_PROGRAMS = tuple(key for key, each in _SETTINGS.items() if each.sections == (schema.SUBJECT,))

# The sections of the help of commands that run cells: a title, and the names of parameters. The
# names that are not settings of a plan belong to the other modules that define options.
SECTIONS: Mapping[str, Sequence[str]] = {
    "What runs": (
        "subjects", "args", "files", "env", "keep_secrets", "stdin", "user", "root", "sysroot",
        "probes", "policies", "policy", "workloads", "tags", "shard", "repeats",
    ),
    "Where": (
        "guests", "require", "uml", "kernel", "initrd", "append", "mode", "boot_per_cell", "jobs",
        "locked", "pull", "address",
    ),
    "Limits": ("limits", "kind", "low", "high", "precision", "timeout", "deadline"),
    "Expectations": (
        "expect", "ready_pattern", "ready_port", "ready_file", "ready_notify", "trace", "retries",
    ),
    "Output": (
        "thresholds", "quiet", "run_dir", "json_file", "junit_file", "html_file", "github",
        "history", "no_history", "keep", "keep_for", "earlier", "listing", "matrix", "shards",
        "reference",
    ),
}  # fmt: skip


def plan_options(*, run: bool = False) -> Callable[[F], F]:
    """Add the options that select cells to a command, which gets them as `overrides`.

    With `run`, also those that change how the cells are run.
    """
    return setting_options(*(key for key in _SETTINGS if run or key not in _OF_RUNS))


def setting_options(*keys: str) -> Callable[[F], F]:
    """Add the options of these settings to a command, which gets them as `overrides`."""
    options = [_option(each) for key, each in _SETTINGS.items() if key in keys]
    return gather("overrides", lambda **given: Overrides(given), options)


def _option(setting: Setting) -> click.Option:
    assert setting.option
    option = setting.option
    if setting.value_type is FLAG:
        declarations = [f"{option.name}/{option.negation}", setting.key]
        return click.Option(declarations, default=None, help=option.help)
    short = [option.short] if option.short else []
    return click.Option(
        [*short, option.name, setting.key],
        metavar=option.metavar,
        help=option.help,
        multiple=setting.shape is not Shape.ONE,
        callback=None if setting.key == _MAY_BE_EMPTY else _refuse_empty,
    )


def _refuse_empty(_: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Return the value of an option. Raises UsageError for an empty word: the variable of a script
    that is not set. A plan has such a word for the value that is in effect without the option.
    """
    if "" in (value if isinstance(value, tuple) else (value,)):
        name = parameter.opts[-1]
        raise UsageError(
            f"{name}: the value is empty",
            f"write {name} {parameter.metavar}, or leave the option out",
        )
    return value


@dataclass(frozen=True)
class Overrides:
    """Options that override settings of a plan: what was given for each, by the setting's key.

    A value is a word, a tuple of words for a setting of several values, a bool for a flag, or None.
    """

    given: Mapping[str, Any]

    def select_cells(
        self, plan: PlanFile, guests: tuple[str, ...] = ()
    ) -> tuple[PlanFile, tuple[Cell, ...]]:
        """Return the selected cells, and the plan with the program of --subject added to it.

        `guests` are selected besides those of --guest. Raises UsageError.
        """
        plan, chosen = self.resolve_machines(plan)
        plan, subjects = self.resolve_subjects(plan, self.given["subjects"])
        selection = chosen._selection(plan, guests, subjects)
        repeated = self._repeated()
        cells = plan.cells(selection)
        self._check_user(cells)
        return plan, tuple(replace(each, asked=each.asked + repeated) for each in cells)

    def _check_user(self, cells: Sequence[Cell]) -> None:
        user = self.given.get("user")
        others = sorted({each.limits.user for each in cells if each.limits.user} - {user})
        if user and others:
            raise UsageError(
                f"--user {user} and the limit user={others[0]} name different users",
                "leave one of the two out",
            )

    def resolve_machines(self, plan: PlanFile) -> tuple[PlanFile, Overrides]:
        """Return the plan that knows the machines of `--guest NAME=ssh:ADDRESS`, and the same
        options with their names. Raises UsageError.
        """
        words = []
        for word in self.given["guests"]:
            try:
                if machine := split_machine(word):
                    plan = plan.with_machine(*machine)
            except UsageError as error:
                raise UsageError(f"--guest {word}: {error}", error.remedy) from error
            words.append(machine[0] if machine else word)
        return plan, Overrides({**self.given, "guests": tuple(words)})

    def with_defaults(self, **words: tuple[str, ...]) -> Overrides:
        """Return the same with these words for settings that were not given."""
        return Overrides({**self.given, **{key: self.given[key] or words[key] for key in words}})

    def with_values(self, **words: object) -> Overrides:
        """Return the same with these words instead of those that were given."""
        return Overrides({**self.given, **words})

    def arguments(self, *keys: str) -> tuple[str, ...]:
        """Return the command line arguments that give these settings, or all, as here."""
        return tuple(
            argument
            for key, setting in _SETTINGS.items()
            if not keys or key in keys
            for argument in self._arguments_of(setting)
        )

    def _arguments_of(self, setting: Setting) -> Iterator[str]:
        assert setting.option
        name, given = setting.option.name, self.given.get(setting.key)
        if isinstance(given, bool):
            yield name if given else setting.option.negation
        elif given is not None:
            for each in given if isinstance(given, tuple) else (given,):
                yield from (name, each)

    def value(self, key: str, plan: PlanFile) -> Any:
        """Return the parsed value of a setting; None if it was not given. Raises UsageError."""
        given = self.given[key]
        if given is None or isinstance(given, bool):
            return given
        return (
            _parse_all(key, given, plan) if isinstance(given, tuple) else _parse(key, given, plan)
        )

    def resolve_subjects(
        self, plan: PlanFile, words: tuple[str, ...]
    ) -> tuple[PlanFile, tuple[str, ...]]:
        """Return the names of the subjects that these words mean, and the plan that knows them.

        A word that is a name of the plan is that subject. Any other is a program, which is added to
        the plan. Raises UsageError.
        """
        names: list[str] = []
        programs = 0
        for word in words:
            # no name of a subject has a slash: a path may have the characters of a pattern
            is_pattern = "/" not in word and value_types.is_pattern(word)
            if word in plan.vocabulary.all_subjects or is_pattern:
                names += _parse_all("subjects", (word,), plan)
                continue
            program = self._program(word, plan)
            try:
                plan = plan.with_program(program)
            except UsageError as error:
                remedy = "give the program another name, for example by a symbolic link"
                raise UsageError(f"--subject {word}: {error}", remedy) from error
            names.append(program.name)
            programs += 1
        described = self.arguments(*OF_PROGRAMS)
        if described and programs > 1:
            raise UsageError(
                f"{described[0]} describes one program, and {programs} are given",
                "give one --subject, or write a plan with a section for each (docs/plans.md)",
            )
        if described and not programs:
            raise UsageError(
                f"{described[0]} needs a program of yours: packaged runtimes bring all that they need",
                "give its path: --subject ./PROGRAM",
            )
        return plan, tuple(names)

    def _program(self, word: str, plan: PlanFile) -> Program:
        from foothold_lab.harness.model.cells import OF_GUEST
        from foothold_lab.harness.plan import Program
        from foothold_lab.harness.subjects.subject import subject_name

        of_guest = word.startswith(OF_GUEST)
        if "/" not in word and not of_guest and not shutil.which(word):
            try:
                plan.vocabulary.check_subject(word)
            except UsageError as error:
                remedy = f"{error.remedy}; or the path of a program: ./{word}"
                raise UsageError(str(error), remedy) from None
        values = {key: self.value(key, plan) for key in OF_PROGRAMS}
        subject = _absolute(word) if "/" in word else word  # a name is found by PATH
        return Program(
            name=subject_name(word.removeprefix(OF_GUEST)),
            program=word,
            options=("--subject", subject, *self._program_arguments()),
            **{key: value for key, value in values.items() if value is not None},
        )

    def _program_arguments(self) -> Iterator[str]:
        """Yield the arguments that describe a program, for a command line in any directory."""
        words = self.arguments(*(key for key in OF_PROGRAMS if key not in ("files", "stdin")))
        yield from words if self.given.get("keep_secrets") else mask_arguments(words)
        for path in self.given.get("files") or ():
            yield from ("--file", _absolute(path))
        if stdin := self.given.get("stdin"):
            yield from ("--stdin", _absolute(stdin))

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
        settings = {key: self.value(key, plan) for key in ("repeats", "deadline", "trace")}
        return Selection(
            axes=Axes(subjects=tuple(dict.fromkeys(subjects)), **axes),
            tags=self.value("tags", plan),
            settings=CellSettings(**settings),
            expect=self._expectation(plan),
        )

    def _expectation(self, plan: PlanFile) -> Expectation | None:
        expected: Expectation | None = self.value("expect", plan)
        try:
            return expected and expected.with_output_read(Path())
        except UsageError as error:
            raise UsageError(f"--expect: {error}", error.remedy) from error

    def _repeated(self) -> tuple[str, ...]:
        """Return the arguments that hold for every cell, for a command line in any directory."""
        kind, _, file = (self.given.get("expect") or "").partition(":")
        if kind == "stdout" and file:
            made = Overrides({**self.given, "expect": f"stdout:{_absolute(file)}"})
            return made.arguments("expect", "deadline", "trace")
        return self.arguments("expect", "deadline", "trace")


def _parse_all(key: str, words: tuple[str, ...], plan: PlanFile) -> tuple[Any, ...]:
    """Parse each of several words. A pattern becomes all names that it matches."""
    values = (_parse(key, each, plan) for each in words)
    return tuple(itertools.chain(*(v if isinstance(v, tuple) else (v,) for v in values)))


def _parse(key: str, word: str, plan: PlanFile) -> object:
    setting = _SETTINGS[key]
    assert setting.option
    try:
        return setting.value_type.parse(setting.value_type.from_word(word), plan.vocabulary)
    except UsageError as error:
        remedy = error.remedy or f"`foothold run --help` explains {setting.option.name}"
        raise UsageError(f"{setting.option.name}: {error}", remedy) from error


plan_argument = click.argument("plan", nargs=-1, metavar="[PLAN]")


def choose_plan(words: Sequence[str], overrides: Overrides, default: str = "default") -> str:
    """Return the name or path of the plan that a command line asks for.

    `words` are the arguments that are not options. Raises UsageError if they are not one plan, and
    says which option was probably meant.
    """
    from foothold_lab.harness.plan import builtin_plans

    if not words:
        return default
    first, *others = words
    is_plan = first in builtin_plans() or first.endswith(".toml")
    if is_plan and not others:
        return first
    extra = others if is_plan else list(words)
    if overrides.given["subjects"]:
        noun = "is not a plan" if len(extra) == 1 else "are not plans"
        raise UsageError(
            f"{shlex.join(extra)} {noun}",
            f"to pass arguments to the program: {arguments_for_program(extra)}",
        )
    if is_plan:
        raise UsageError(
            f"unexpected argument {others[0]!r}", "give one plan; options begin with --"
        )
    if remedy := _misplaced(first, others):
        raise UsageError(f"{first} is not a plan", remedy)
    if others:
        raise UsageError(
            f"{first}: no such plan{did_you_mean(first, builtin_plans())}",
            f"give one plan: the path of a TOML file, or one of {', '.join(builtin_plans())}",
        )
    return first


def arguments_for_program(words: Sequence[str]) -> str:
    """Return the options that pass these words to the program."""
    return " ".join(
        f"--arg={shlex.quote(each)}" if each.startswith("-") else f"--arg {shlex.quote(each)}"
        for each in words
    )


def _misplaced(word: str, others: Sequence[str]) -> str:
    """Return the remedy for a word that should have been the value of an option; or nothing."""
    from foothold_lab.harness.cli.context import make_builder, make_vocabulary
    from foothold_lab.harness.model.limits import Limits

    path = Path(word)
    if path.is_file() and shutil.which(path.absolute()):
        arguments = f" {arguments_for_program(others)}" if others else ""
        return f"to run this program: --subject {shlex.quote(word)}{arguments}"
    vocabulary = make_vocabulary(make_builder())
    if word in vocabulary.guests:
        return f"to select this guest: --guest {word}"
    if word in vocabulary.all_subjects:
        return f"to run this subject: --subject {word}"
    if word in vocabulary.policies:
        return f"to select this policy: --policy {word}"
    try:
        Limits.parse(word)
    except UsageError:
        return ""
    return f"to run under this limit: --limit {word}"


shard_option = click.option(
    "--shard",
    metavar="I/N",
    help="Run only the I-th of N parts of the cells, to divide a plan between machines.",
)


def parse_shard(text: str | None) -> Shard:
    """Return the part of a plan that `--shard` selects; all of it by default.

    Raises UsageError.
    """
    from foothold_lab.harness.plan import Shard

    try:
        return Shard.parse("1/1" if text is None else text)
    except UsageError as error:
        raise UsageError(f"--shard: {error}", error.remedy) from error


def _absolute(word: str) -> str:
    """Return the absolute path of an existing file. Other words, such as names, stay the same."""
    return str(Path(word).absolute()) if Path(word).exists() else word
