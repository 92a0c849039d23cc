"""The one table of settings: file format, command line, documentation and messages come from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from foothold_lab.harness.model.cells import ALLOCATOR
from foothold_lab.harness.model.verdict import Outcome, ReservationPath
from foothold_lab.harness.plan import value_types
from foothold_lab.harness.plan.value_types import ValueType
from foothold_lab.harness.plan.vocabulary import Known


class Shape(Enum):
    """How often something may stand in a file: a value or table once; many in a list, or in one
    that has each once; many by their names.
    """

    ONE = "one"
    LIST = "list"
    SET = "set"
    NAMED = "by name"


@dataclass(frozen=True)
class Section:
    """A part of a plan. `key` is empty for what stands above all tables."""

    key: str
    shape: Shape
    help: str
    required: bool = False

    @property
    def title(self) -> str:
        """How it begins in a file."""
        titles = {
            Shape.ONE: f"[{self.key}]",
            Shape.LIST: f"[[{self.key}]]",
            Shape.NAMED: f"[{self.key}.NAME]",
        }
        return titles[self.shape] if self.key else ""


@dataclass(frozen=True)
class Option:
    """How a setting is given on the command line, where it goes before what the plan says. A flag
    can also be taken back: `--trace`, `--no-trace`.
    """

    name: str
    metavar: str = ""
    help: str = ""
    short: str = ""

    @property
    def off(self) -> str:
        """What takes a flag back."""
        return f"--no-{self.name.removeprefix('--')}"


class Required(Enum):
    """What stands for the default of a setting that has none."""

    REQUIRED = "required"


REQUIRED = Required.REQUIRED


@dataclass(frozen=True)
class Setting:
    """One thing that can be set: its key in these sections of a file, one value or several of a
    kind, what holds if it is not given (`otherwise` says it if the value does not), and its option.
    """

    key: str
    sections: tuple[str, ...]
    kind: ValueType
    help: str
    default: object = REQUIRED
    shape: Shape = Shape.ONE
    otherwise: str = ""
    option: Option | None = None


PLAN, AXES, EXCLUDE, INCLUDE, EXPECT, CELLS, SUBJECT = (
    "",
    "axes",
    "exclude",
    "include",
    "expect",
    "cells",
    "subject",
)

SECTIONS: Mapping[str, Section] = {
    each.key: each
    for each in (
        Section(PLAN, Shape.ONE, "The plan itself. These stand before the first table.", True),
        Section(AXES, Shape.ONE, "Lists whose product is the cells.", True),
        Section(EXCLUDE, Shape.LIST, "Cells of that product that are left out, by patterns."),
        Section(INCLUDE, Shape.LIST, "More cells, again as axes; nothing is excluded of them."),
        Section(
            EXPECT,
            Shape.LIST,
            "What is declared of the cells that match. Of several the first counts. Either "
            "`expect`, of any subject; or `path` and `outcome`, of the allocator alone.",
        ),
        Section(
            CELLS,
            Shape.LIST,
            "What else is said of the cells that match. It goes before what the plan says of "
            "all; of several that say the same thing the first counts, but tags add up.",
        ),
        Section(SUBJECT, Shape.NAMED, "A program that is a subject of this plan, by this name."),
    )
}


def _axis(
    key: str,
    kind: ValueType,
    there_are: Callable[[Known], Collection[str]] | None,
    text: str,
    option: Option,
    default: object,
) -> tuple[Setting, Setting]:
    """An axis is a list of words where cells are made, and of patterns where they are matched. If
    it is known which words there are, a pattern can stand for all those that match.
    """
    word = value_types.several(kind, there_are) if there_are else kind
    like = f"Cells with one of these {key}."
    matched = (EXCLUDE, EXPECT, CELLS)
    return (
        Setting(key, (AXES, INCLUDE), word, text, default, Shape.SET, option=option),
        Setting(key, matched, value_types.pattern(kind, there_are), like, ("*",), Shape.SET),
    )


_EXPECT = "`starts`, `path:high`, `path:low`, `path:refused`, `dies:REGEX` or `anything`."
SETTINGS: tuple[Setting, ...] = (
    Setting("schema", (PLAN,), value_types.SCHEMA_KIND, "The version of this format."),
    Setting("name", (PLAN,), value_types.LINE, "What the plan is called."),
    Setting("description", (PLAN,), value_types.LINE, "What it is for, in a line.", ""),
    Setting("tags", (PLAN, CELLS), value_types.TAG,
            "Words by which cells can be chosen, with `--tag`.", (), Shape.SET),
    Setting("require", (PLAN,), value_types.GUEST,
            "Guests that have to be there: that one is unsupported is a failure.", (),
            Shape.SET, option=Option("--require", "G", "Fail if this guest is unsupported.")),
    Setting("complete", (PLAN,), value_types.FLAG,
            "A cell of which nothing is declared is a mistake in the plan.", False),
    *_axis("guests", value_types.GUEST, lambda known: known.aliases,
           "Where subjects run.", Option("--guest", "G", "Only in this guest; again for more."),
           REQUIRED),
    *_axis("limits", value_types.LIMIT, None,
           "What narrows the address space there: see limits.md.",
           Option("--limit", "L", "This limit instead: none, rlimit_as=300M, …"), ("none",)),
    *_axis("subjects", value_types.SUBJECT, lambda known: known.all_subjects,
           "What runs: `allocator`, a `[subject.NAME]` of this plan, or a packaged one.",
           Option("--subject", "S", "This subject instead: a name that the plan knows, or a "
                  "program."), (ALLOCATOR,)),
    *_axis("policies", value_types.POLICY, lambda known: known.policies,
           "The allocator's generations: see `foothold policies`. Other subjects have none.",
           Option("--policy", "P", "This policy of the allocator instead."), ("after",)),
    *_axis("workloads", value_types.WORKLOAD, None,
           "What the allocator does with its heap: `none`, `default`, `hello`, `grow:SIZE`, "
           "`block:SIZE`.", Option("--workload", "W", "This workload of the allocator instead."),
           ("default",)),
    Setting("expect", (EXPECT,), value_types.EXPECTATION, _EXPECT, None,
            option=Option("--expect", "E",
                          "What has to come of every cell: starts, path:low, path:high, "
                          "dies:REGEX, anything.")),
    Setting("path", (EXPECT,), value_types.choice("path", *ReservationPath),
            "Where the allocator's arena has to be.", None),
    Setting("outcome", (EXPECT,), value_types.choice("outcome", Outcome.ALLOCATES, Outcome.DIES),
            "What becomes of it.", None),
    Setting("status", (EXPECT,), value_types.number(0, 255, whole=True),
            "The exit status of one that dies.", 0),
    Setting("message", (EXPECT,), value_types.TEXT, "The last line on its standard error.", ""),
    Setting("expect", (SUBJECT,), value_types.EXPECTATION, f"{_EXPECT} An `[[expect]]` goes before it.",
            None, otherwise='`"starts"`'),
    Setting("program", (SUBJECT,), value_types.LINE,
            "Its path, from the plan's directory; without a slash it is looked for in `$PATH`."),
    Setting("args", (SUBJECT,), value_types.TEXT, "Its arguments.", (), Shape.LIST,
            option=Option("--arg", "A", "An argument of the program.")),
    Setting("files", (SUBJECT,), value_types.TEXT,
            "Files that it finds in its working directory; paths from the plan's directory.", (),
            Shape.LIST, option=Option("--file", "F", "A file beside the program.")),
    Setting("env", (SUBJECT,), value_types.ASSIGNMENT, "Its environment.", (), Shape.NAMED,
            option=Option("--env", "K=V", "A variable of its environment.")),
    Setting("root", (SUBJECT,), value_types.choice("root", "image", "host"),
            "Its root file system: ours, or read-only this machine's own.", "image",
            option=Option("--root", "image|host")),
    Setting("sysroot", (SUBJECT,), value_types.TEXT,
            "Where the libraries of a program of another machine are: a directory with `lib` or "
            "`usr/lib`. Without it, those of the guest's own root serve.", "",
            option=Option("--sysroot", "DIR", "Where a foreign program's libraries are.")),
    Setting("timeout", (SUBJECT,), value_types.number(0.1, 3600, "seconds"),
            "After so long it counts as running, and is ended; times the guest's slowness.", None,
            otherwise="`10`",
            option=Option("--timeout", "S", "After so many seconds it counts as running (10).")),
    Setting("ready_pattern", (SUBJECT,), value_types.REGEX,
            "What a line of its output has when it has started. It is ended then; if it never says "
            "so, it has not started.", "",
            option=Option("--ready-pattern", "REGEX", "What it prints when it has started.")),
    Setting("repeats", (PLAN, CELLS), value_types.number(1, 1000, whole=True),
            "Each cell so many times; from the second on its name ends with `~2` and so on.", None,
            otherwise="`1`", option=Option("--repeats", "N", "Each cell so many times.")),
    Setting("deadline", (PLAN, CELLS), value_types.number(0.1, 86400, "seconds"),
            "After so long a cell is in error; times the guest's slowness, and at least twice "
            "its subject's patience.", None, otherwise="`30`",
            option=Option("--deadline", "S", "After so many seconds a cell is in error (30).")),
    Setting("trace", (PLAN, CELLS), value_types.FLAG,
            "System calls are the third witness. A program that traces itself cannot be traced.",
            None, otherwise="`true`",
            option=Option("--trace", help="System calls as the third witness.")),
    Setting("fresh", (PLAN,), value_types.FLAG, "A boot for each cell, not for each guest.", False,
            option=Option("--fresh", help="Boot each guest anew for every cell.")),
    Setting("retries", (PLAN,), value_types.number(0, 100, whole=True),
            "What does not pass is asked so many times again, each time in a guest that has booted "
            "for it alone; its verdict says so.", 0,
            option=Option("--retries", "N", "Ask what does not pass so often again.")),
    Setting("jobs", (PLAN,), value_types.number(1, 64, whole=True), "Guests at once.", None,
            otherwise="one for each processor",
            option=Option("--jobs", "N", "So many guests at once (one a processor).", "-j")),
)  # fmt: skip


def of_section(section: str) -> Iterator[Setting]:
    """The settings that may stand in a section."""
    return (each for each in SETTINGS if section in each.sections)
