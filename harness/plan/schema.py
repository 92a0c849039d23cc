"""The one table of settings: file format, command line, documentation and messages use it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from foothold_lab.harness.model.cells import ALLOCATOR
from foothold_lab.harness.model.verdict import EXPECTATION_FORMS, Outcome, ReservationPath
from foothold_lab.harness.plan import value_types
from foothold_lab.harness.plan.value_types import ValueType
from foothold_lab.harness.plan.vocabulary import Vocabulary


class Shape(Enum):
    """How a section or a value appears in a file.

    ONE: once. LIST: a list. SET: a list without duplicates. NAMED: a table, by name.
    """

    ONE = "one"
    LIST = "list"
    SET = "set"
    NAMED = "named"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of a plan. `key` is empty for the top level."""

    key: str
    shape: Shape
    help: str
    required: bool = False

    @property
    def title(self) -> str:
        """The header of the section in a file; empty for the top level."""
        titles = {
            Shape.ONE: f"[{self.key}]",
            Shape.LIST: f"[[{self.key}]]",
            Shape.NAMED: f"[{self.key}.NAME]",
        }
        return titles[self.shape] if self.key else ""


@dataclass(frozen=True, kw_only=True)
class Option:
    """The command line option that overrides a setting.

    A flag has no metavar, and a negation: `--trace`, `--no-trace`.
    """

    name: str
    help: str
    metavar: str = ""
    short: str = ""

    @property
    def negation(self) -> str:
        """The option that turns a flag off."""
        return f"--no-{self.name.removeprefix('--')}"


class Required(Enum):
    """The default of a setting that has to be given."""

    REQUIRED = "required"


REQUIRED = Required.REQUIRED


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting: its key, the sections it may stand in, its type, its default, its option.

    `default_text` documents the default where the value None stands for it.
    """

    key: str
    sections: tuple[str, ...]
    value_type: ValueType
    help: str
    default: object = REQUIRED
    default_text: str = ""
    shape: Shape = Shape.ONE
    option: Option | None = None


PLAN = ""
AXES = "axes"
EXCLUDE = "exclude"
INCLUDE = "include"
EXPECT = "expect"
OVERRIDE = "override"
SUBJECT = "subject"
MACHINE = "guest"

SECTIONS: Mapping[str, Section] = {
    each.key: each
    for each in (
        Section(
            key=PLAN,
            shape=Shape.ONE,
            help="Settings of the whole plan. They stand before the first table.",
            required=True,
        ),
        Section(
            key=AXES,
            shape=Shape.ONE,
            help="Lists whose product is the cells of the plan.",
            required=True,
        ),
        Section(
            key=EXCLUDE,
            shape=Shape.LIST,
            help="Removes the cells of that product that match.",
        ),
        Section(
            key=INCLUDE,
            shape=Shape.LIST,
            help="Adds the product of further lists. `[[exclude]]` does not apply to it.",
        ),
        Section(
            key=EXPECT,
            shape=Shape.LIST,
            help="The expected result of the cells that match. The first `[[expect]]` that matches "
            "a cell counts. Give either `expect`, for any subject, or `path` and `outcome`, for "
            "the allocator.",
        ),
        Section(
            key=OVERRIDE,
            shape=Shape.LIST,
            help="Settings for the cells that match, instead of those of the plan. If several "
            "match a cell, the first that has a key counts; tags add up.",
        ),
        Section(
            key=SUBJECT,
            shape=Shape.NAMED,
            help="Declares a program as a subject of this plan, under this name.",
        ),
        Section(
            key=MACHINE,
            shape=Shape.NAMED,
            help="Declares a machine that is reached by SSH as a guest of this plan, under this name: "
            "see [ssh.md](ssh.md).",
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """One list of `[axes]`. With `all_names`, a pattern stands for every name that matches."""

    key: str
    value_type: ValueType
    help: str
    option: Option
    default: object = REQUIRED
    all_names: Callable[[Vocabulary], Collection[str]] | None = None

    @property
    def settings(self) -> tuple[Setting, Setting]:
        """The setting where cells are made, and the one where they are matched by patterns."""
        made = self.value_type
        if self.all_names:
            made = value_types.expanded_pattern(made, self.all_names)
        return (
            Setting(
                key=self.key,
                sections=(AXES, INCLUDE),
                value_type=made,
                help=self.help,
                default=self.default,
                shape=Shape.SET,
                option=self.option,
            ),
            Setting(
                key=self.key,
                sections=(EXCLUDE, EXPECT, OVERRIDE),
                value_type=value_types.pattern(self.value_type, self.all_names),
                help=f"Matches cells with one of these {self.key}.",
                default=("*",),
                shape=Shape.SET,
            ),
        )


_AXES = (
    _Axis(
        key="guests",
        value_type=value_types.GUEST,
        help="The guests in which subjects run: names of guests, `ssh:USER@HOST`, or a `[guest.NAME]` of "
        "this plan.",
        option=Option(
            name="--guest",
            metavar="GUEST",
            help="Run in this guest; repeatable. `foothold doctor` lists all guests. ssh:USER@HOST:PORT is a "
            "machine that is reached by SSH; NAME=ssh:USER@HOST gives it a name.",
        ),
        all_names=lambda vocabulary: vocabulary.guests,
    ),
    _Axis(
        key="limits",
        value_type=value_types.LIMIT,
        help="The limits under which subjects run: see [limits.md](limits.md).",
        option=Option(
            name="--limit",
            metavar="LIMIT",
            help="Run under this limit: none, rlimit_as=300M, ceiling=39bit, … (`foothold help "
            "limits` lists all); repeatable. Join limits that apply together with +.",
        ),
        default=("none",),
    ),
    _Axis(
        key="subjects",
        value_type=value_types.SUBJECT,
        help="The subjects: `allocator`, a `[subject.NAME]` of this plan, or a packaged runtime.",
        option=Option(
            name="--subject",
            metavar="SUBJECT",
            help="Run this subject: the path of a program, a packaged runtime such as go-hello, "
            "a name that the plan declares, or guest:PATH, a program of the guest; repeatable.",
        ),
        default=(ALLOCATOR,),
        all_names=lambda vocabulary: vocabulary.all_subjects,
    ),
    _Axis(
        key="policies",
        value_type=value_types.POLICY,
        help="The versions of the allocator's reservation code: see `foothold policies`. Other "
        "subjects have none.",
        option=Option(
            name="--policy",
            metavar="POLICY",
            help="Policy of the subject `allocator`: see `foothold policies`; repeatable.",
        ),
        default=("after",),
        all_names=lambda vocabulary: vocabulary.policies,
    ),
    _Axis(
        key="workloads",
        value_type=value_types.WORKLOAD,
        help="What the allocator does: `none`, `default`, `hello`, `grow:SIZE`, `block:SIZE`, "
        "`small:N:SIZE`.",
        option=Option(
            name="--workload",
            metavar="WORKLOAD",
            help="Workload of the subject `allocator`: none, default, hello, grow:SIZE, block:SIZE "
            "or small:N:SIZE; repeatable.",
        ),
        default=("default",),
    ),
)

_EXPECT_FORMS = f"One of {', '.join(f'`{each}`' for each in EXPECTATION_FORMS)}."
_EXPECTATIONS = (
    Setting(
        key="expect",
        sections=(EXPECT,),
        value_type=value_types.EXPECTATION,
        help=_EXPECT_FORMS,
        default=None,
        option=Option(
            name="--expect",
            metavar="EXPECTATION",
            help="Expect this of every cell: starts, starts-clean (no request for memory was "
            "refused or moved), dies:REGEX, says:REGEX, status:N, signal:NAME, panics:REGEX (its "
            "guest does), stdout:FILE (its standard output is that file), same-output-as:GUEST (it "
            "prints and ends as in GUEST), anything; or path:high, path:low, path:refused (its "
            "largest reservation is above 4 GiB, below it, or refused).",
        ),
    ),
    Setting(
        key="path",
        sections=(EXPECT,),
        value_type=value_types.choice("path", *ReservationPath),
        help="The place of the allocator's arena.",
        default=None,
    ),
    Setting(
        key="outcome",
        sections=(EXPECT,),
        value_type=value_types.choice("outcome", Outcome.ALLOCATES, Outcome.DIES),
        help="Whether the allocator allocates or dies.",
        default=None,
    ),
    Setting(
        key="status",
        sections=(EXPECT,),
        value_type=value_types.number(0, 255, whole=True),
        help="The exit status of an allocator that dies.",
        default=0,
    ),
    Setting(
        key="message",
        sections=(EXPECT,),
        value_type=value_types.TEXT,
        help="The last line that it writes to standard error.",
        default="",
    ),
    Setting(
        key="expect",
        sections=(SUBJECT,),
        value_type=value_types.EXPECTATION,
        help=f"{_EXPECT_FORMS} An `[[expect]]` that matches overrides it.",
        default=None,
        default_text='"starts"',
    ),
)

_PROGRAMS = (
    Setting(
        key="program",
        sections=(SUBJECT,),
        value_type=value_types.LINE,
        help="Path of the program, relative to the plan; or guest:PATH, a program of the guest. A name without a slash is looked up in "
        "`$PATH`.",
    ),
    Setting(
        key="args",
        sections=(SUBJECT,),
        value_type=value_types.TEXT,
        help="Arguments of the program.",
        default=(),
        shape=Shape.LIST,
        option=Option(
            name="--arg",
            metavar="ARG",
            help="Argument of the program; repeatable: --arg=-p --arg 8080.",
        ),
    ),
    Setting(
        key="files",
        sections=(SUBJECT,),
        value_type=value_types.TEXT,
        help="Files and directories that are copied into its working directory, and are at their own "
        "absolute paths as well. Paths are relative to the plan.",
        default=(),
        shape=Shape.LIST,
        option=Option(
            name="--file",
            metavar="FILE",
            help="Copy this file or directory into the program's working directory; repeatable.",
        ),
    ),
    Setting(
        key="env",
        sections=(SUBJECT,),
        value_type=value_types.ASSIGNMENT,
        help="Environment variables of the program.",
        default=(),
        shape=Shape.NAMED,
        option=Option(
            name="--env",
            metavar="NAME=VALUE",
            help="Environment variable of the program; repeatable.",
        ),
    ),
    Setting(
        key="keep_secrets",
        sections=(SUBJECT,),
        value_type=value_types.FLAG,
        help="Record the values of `env` whose names contain TOKEN, PASSWORD, SECRET, KEY, AUTH or "
        "CREDENTIAL. Otherwise `***` stands in their place in all files of the run.",
        default=False,
        option=Option(
            name="--keep-secrets",
            help="Record the values of --env whose names contain TOKEN, PASSWORD, KEY and the like.",
        ),
    ),
    Setting(
        key="root",
        sections=(SUBJECT,),
        value_type=value_types.choice("root", "image", "host"),
        help="Its root file system: Foothold's image, or this machine's own, read-only.",
        default="image",
        option=Option(
            name="--root",
            metavar="image|host",
            help="Root file system of the program: Foothold's image (default), or this machine's "
            "own, read-only.",
        ),
    ),
    Setting(
        key="stdin",
        sections=(SUBJECT,),
        value_type=value_types.TEXT,
        help="File that is its standard input. Without it, standard input is empty. The path is "
        "relative to the plan.",
        default="",
        option=Option(
            name="--stdin",
            metavar="FILE",
            help="File that is the standard input of the program; empty without it.",
        ),
    ),
    Setting(
        key="user",
        sections=(SUBJECT,),
        value_type=value_types.TEXT,
        help="User that it runs as: a name in the guest's `/etc/passwd`, or a number. Without it, "
        "root in a guest and the user of Foothold on native.",
        default="",
        option=Option(
            name="--user",
            metavar="NAME|UID",
            help="User that the program runs as.",
        ),
    ),
    Setting(
        key="sysroot",
        sections=(SUBJECT,),
        value_type=value_types.TEXT,
        help="Directory with the libraries of a program for another architecture: it holds `lib` "
        "or `usr/lib`. Without it, the libraries of the guest's root are used.",
        default="",
        option=Option(
            name="--sysroot",
            metavar="DIR",
            help="Directory with the libraries of a program for another architecture.",
        ),
    ),
    Setting(
        key="timeout",
        sections=(SUBJECT,),
        value_type=value_types.number(0.1, 3600, "seconds"),
        help="A program that still runs after this time counts as started, and is ended. Slow "
        "guests get more time in proportion.",
        default=None,
        default_text="10",
        option=Option(
            name="--timeout",
            metavar="SECONDS",
            help="A program that still runs after this time counts as started, and is ended "
            "(default: 10).",
        ),
    ),
    Setting(
        key="ready_pattern",
        sections=(SUBJECT,),
        value_type=value_types.REGEX,
        help="A regular expression for a line of the program's output. The program counts as "
        "started when a line matches, and is ended then. If no line matches, it has not started.",
        default="",
        option=Option(
            name="--ready-pattern",
            metavar="REGEX",
            help="The program counts as started when a line of its output matches; it is ended "
            "then.",
        ),
    ),
    Setting(
        key="ready_port",
        sections=(SUBJECT,),
        value_type=value_types.number(1, 65535, whole=True),
        help="The program counts as started when it or a process that it started listens on this "
        "TCP port, and is ended then.",
        default=0,
        default_text="no port",
        option=Option(
            name="--ready-port",
            metavar="PORT",
            help="The program counts as started when it listens on this TCP port; it is ended then.",
        ),
    ),
    Setting(
        key="ready_file",
        sections=(SUBJECT,),
        value_type=value_types.LINE,
        help="The program counts as started when this file appears or is written, and is ended "
        "then. A relative path begins at its working directory.",
        default="",
        option=Option(
            name="--ready-file",
            metavar="PATH",
            help="The program counts as started when this file appears; it is ended then.",
        ),
    ),
    Setting(
        key="ready_notify",
        sections=(SUBJECT,),
        value_type=value_types.FLAG,
        help="The program counts as started when it sends `READY=1` to the socket that "
        "`NOTIFY_SOCKET` names, as sd_notify(3) does, and is ended then.",
        default=False,
        option=Option(
            name="--ready-notify",
            help="The program counts as started when it sends READY=1 as sd_notify(3) does; it is "
            "ended then.",
        ),
    ),
)

_MACHINES = (
    Setting(
        key="ssh",
        sections=(MACHINE,),
        value_type=value_types.SSH_ADDRESS,
        help="The address of the machine: `USER@HOST` or `USER@HOST:PORT`. HOST may be a name of "
        "`~/.ssh/config`.",
    ),
)

_RUNS = (
    Setting(
        key="repeats",
        sections=(PLAN, OVERRIDE),
        value_type=value_types.number(1, 1000, whole=True),
        help="How often each cell runs. The names of further runs end in `~2`, `~3` and so on.",
        default=None,
        default_text="1",
        option=Option(name="--repeats", metavar="N", help="Run each cell N times (default: 1)."),
    ),
    Setting(
        key="deadline",
        sections=(PLAN, OVERRIDE),
        value_type=value_types.number(0.1, 86400, "seconds"),
        help="Time limit of a cell: one that takes longer is an error. Slow guests get more time "
        "in proportion.",
        default=None,
        default_text="30, or three times the timeout of the program if that is longer",
        option=Option(
            name="--deadline",
            metavar="SECONDS",
            help="Time limit of a cell: one that takes longer is an error "
            "(default: 30, or three times --timeout).",
        ),
    ),
    Setting(
        key="trace",
        sections=(PLAN, OVERRIDE),
        value_type=value_types.FLAG,
        help="Trace the program's system calls as evidence. A program that traces itself cannot be "
        "traced.",
        default=None,
        default_text="true",
        option=Option(
            name="--trace", help="Trace the program's system calls as evidence (default)."
        ),
    ),
    Setting(
        key="boot_per_cell",
        sections=(PLAN,),
        value_type=value_types.FLAG,
        help="Boot a guest anew for each of its cells, instead of once for all of them.",
        default=False,
        option=Option(name="--boot-per-cell", help="Boot the guest anew for each cell."),
    ),
    Setting(
        key="retries",
        sections=(PLAN,),
        value_type=value_types.number(0, 100, whole=True),
        help="How often a cell that does not pass is tried again, each time in a newly booted "
        "guest. A cell that passes then is marked as flaky.",
        default=0,
        option=Option(
            name="--retries",
            metavar="N",
            help="Retry failing cells up to N times, each in a newly booted guest (default: 0).",
        ),
    ),
    Setting(
        key="jobs",
        sections=(PLAN,),
        value_type=value_types.number(1, 64, whole=True),
        help="How many guests run at the same time.",
        default=None,
        default_text="number of processors",
        option=Option(
            name="--jobs",
            short="-j",
            metavar="N",
            help="Run N guests at the same time (default: one per processor).",
        ),
    ),
)

SETTINGS: tuple[Setting, ...] = (
    Setting(
        key="schema",
        sections=(PLAN,),
        value_type=value_types.SCHEMA_VERSION,
        help="The version of this file format.",
    ),
    Setting(
        key="name", sections=(PLAN,), value_type=value_types.LINE, help="The name of the plan."
    ),
    Setting(
        key="description",
        sections=(PLAN,),
        value_type=value_types.LINE,
        help="Its purpose, in one line.",
        default="",
    ),
    Setting(
        key="tags",
        sections=(PLAN, OVERRIDE),
        value_type=value_types.TAG,
        help="Words by which `--tag` selects cells.",
        default=(),
        shape=Shape.SET,
    ),
    Setting(
        key="require",
        sections=(PLAN,),
        value_type=value_types.GUEST,
        help="Guests that must be supported: the run fails if this machine cannot boot one of "
        "them.",
        default=(),
        shape=Shape.SET,
        option=Option(
            name="--require",
            metavar="GUEST",
            help="Fail if this machine cannot boot this guest; repeatable.",
        ),
    ),
    Setting(
        key="require_expectations",
        sections=(PLAN,),
        value_type=value_types.FLAG,
        help="Reject the plan if a cell has no expectation.",
        default=False,
    ),
    *(setting for axis in _AXES for setting in axis.settings),
    *_EXPECTATIONS,
    *_PROGRAMS,
    *_MACHINES,
    *_RUNS,
)


def settings_of(section: str) -> Iterator[Setting]:
    """Yield the settings that may stand in a section."""
    return (each for each in SETTINGS if section in each.sections)
