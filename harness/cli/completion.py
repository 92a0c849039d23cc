"""`foothold completion`: completes commands, options and names in a shell."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from foothold_lab.harness import __version__
from foothold_lab.harness.cli.context import state_directory
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.images.errors import ImageError

# with the modules that know names
_FOLDERS = ("harness/guests", "harness/model", "harness/subjects", "harness/evidence", "images")
Names = Callable[[click.Context], Iterable[str]]

# The script of click uses the words of bash, which end at every = and :, so that limits and the
# names of cells could not be completed. This one completes the whole line up to the cursor, and
# returns what follows the last = or :, which is the part that bash replaces.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    local line="${COMP_LINE:0:COMP_POINT}" breaks="${COMP_WORDBREAKS//[^=:]/}"
    local word="${line##* }" kept=""
    [[ $word == --*=* ]] && word="${word#*=}"
    [[ $breaks ]] && kept="${word%%"${word##*[$breaks]}"}"
    COMPREPLY=()
    response=$(env COMP_LINE="$line" %(complete_var)s=bash_complete "$1")
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$kept"}") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Completes a whole line up to the cursor."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one to complete, and the beginning of that one."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        incomplete = "" if line.endswith(" ") else words.pop()
        return words[1:], incomplete


add_completion_class(Bash)


@click.command(short_help="Print a script for completion in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, options, guests, plans and runs in a shell.

    For bash, add to ~/.bashrc: eval "$(foothold completion bash)". For zsh, add to ~/.zshrc, after
    compinit: eval "$(foothold completion zsh)". For fish: foothold completion fish >
    ~/.config/fish/completions/foothold.fish
    """
    completion_class = get_completion_class(shell)
    assert completion_class
    root = context.find_root()
    script = completion_class(root.command, {}, "foothold", "_FOOTHOLD_COMPLETE")
    # not script.source(): that of bash starts a bash to ask for its version
    click.echo(ShellComplete.source(script))


def complete_parameters(command: click.Command) -> None:
    """Make the parameters of a command, or of those in a group, complete names and files."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            complete_parameters(each)
    for parameter in command.params:
        key = parameter.name or ""
        is_file = key in _FILES or (
            key in _NAMES_OR_FILES and isinstance(parameter, click.Argument)
        )
        if parameter.type is click.STRING and (key in _NAMES or is_file):
            complete = _completer(_NAMES.get(key, _none), is_file=is_file)
            parameter.shell_complete = complete  # type: ignore[method-assign, assignment]


def _completer(
    names: Names, *, is_file: bool
) -> Callable[[click.Context, str], list[CompletionItem]]:
    def complete(context: click.Context, incomplete: str) -> list[CompletionItem]:
        files = [CompletionItem(incomplete, type="file")] if is_file else []
        found = (name for name in names(context) if name.startswith(incomplete))
        return [*files, *map(CompletionItem, found)]

    return complete


def _remembered(names: Names) -> Names:
    """Return the same names, remembered in a file: what knows them takes long to import."""

    def find(context: click.Context) -> Iterable[str]:
        try:
            file = state_directory() / "completion" / getattr(names, "__name__", "").strip("_")
        except UsageError:  # no directory for the names
            return names(context)
        state = _state_of_code()
        with contextlib.suppress(OSError, ValueError):
            first, *known = file.read_text().splitlines()
            if first == state:
                return known
        found = list(names(context))
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_suffix(f".{os.getpid()}")
            fresh.write_text("\n".join([state, *found]) + "\n")
            fresh.replace(file)
        return found

    return find


def _state_of_code() -> str:
    """Return what identifies the code and the lock files that the names come from."""
    from foothold_lab.images.default_root import default_root

    top = Path(__file__).resolve().parents[2]
    files = [path for name in _FOLDERS for path in (top / name).glob("*.py")]
    with contextlib.suppress(ImageError):
        files += [top / "images/lock.json", default_root() / "lock.json"]
    changed = max(path.stat().st_mtime_ns for path in files if path.exists())
    return f"{__version__} {top} {files[-1]} {changed}"


def _none(_: click.Context) -> Iterable[str]:
    return ()


@_remembered
def _guests(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.guests.catalogue import known_guests
    from foothold_lab.images.builder import Builder

    return known_guests(Builder())


def _plans(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.plan import builtin_plans

    return builtin_plans()


@_remembered
def _policies(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.evidence.arena_detection import POLICIES

    return POLICIES


@_remembered
def _subjects(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.model.cells import ALLOCATOR
    from foothold_lab.harness.subjects.packaged import CATALOGUE

    return (ALLOCATOR, *CATALOGUE)


def _forms(*words: str) -> Names:
    return lambda _: words


def _commands(context: click.Context) -> Iterable[str]:
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    return root.command.list_commands(root)


@_remembered
def _releases(_: click.Context) -> Iterable[str]:
    from foothold_lab.images.kernel_build import SUITES

    return SUITES


@_remembered
def _images(_: click.Context) -> Iterable[str]:
    from foothold_lab.images.catalogue import RECIPES

    return RECIPES


@_remembered
def _limits(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.model.failures import CALLS
    from foothold_lab.harness.model.limits import USAGES

    yield from (f"fail={call}" for call in CALLS)
    for usage in USAGES:
        word, equals, value = usage.partition("=")
        # a value in capitals is a placeholder
        known = (each if each == each.lower() else "" for each in value.split("|"))
        yield from (f"{word}{equals}{each}" for each in known)


def _runs(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.cli.runs import recorded_runs

    return ["last", *(run.name for run in recorded_runs())]


def _cells(context: click.Context) -> Iterable[str]:
    from foothold_lab.harness.cli.runs import find_run

    cells = find_run(context.params["run"]) / "cells"
    return sorted(str(path.parent.relative_to(cells)) for path in cells.rglob("verdict.json"))


def _guests_and_kept(context: click.Context) -> Iterable[str]:
    """Guests to boot, and guests that runs keep."""
    from foothold_lab.harness.cli.context import runs_directory

    yield from _guests(context)
    for socket in runs_directory().glob("*/guests.socket"):
        for guest in (socket.parent / "guests").iterdir():
            yield f"{socket.parent.name}/{guest.name}"


def _expectations(context: click.Context) -> Iterable[str]:
    """The forms of expectations, up to the value that follows the colon; guests in full."""
    from foothold_lab.harness.model.verdict import EXPECTATION_FORMS

    for form in EXPECTATION_FORMS:
        kind, colon, value = form.partition(":")
        if value == "GUEST":
            yield from (f"{kind}:{guest}" for guest in _guests(context))
        else:
            yield f"{kind}{colon}" if value.isupper() else form


# the names that complete a parameter, by its name
_NAMES: Mapping[str, Names] = {
    "a": _runs,
    "b": _runs,
    "cell": _cells,
    "command": _commands,
    "compare": _runs,
    "expect": _expectations,
    "guest": _guests,
    "guests": _guests,
    "limit": _limits,
    "limits": _limits,
    "names": _images,
    "plan": _plans,
    "policies": _policies,
    "policy": _policies,
    "release": _releases,
    "require": _guests,
    "root": _forms("image", "host"),
    "run": _runs,
    "subject": _subjects,
    "subjects": _subjects,
    "words": _guests_and_kept,
    "workloads": _forms("none", "default", "hello", "grow:", "block:"),
}
# parameters that are files
_FILES = (
    "files", "programs", "stdin", "subject", "subjects", "sysroot",
)  # fmt: skip
# arguments that are a name or a file
_NAMES_OR_FILES = ("a", "b", "compare", "plan", "run")
