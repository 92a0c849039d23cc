"""`foothold completion`: what a shell may offer, and which of the names there are fits where."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

Names = Callable[[click.Context], Iterable[str]]

# click's own takes the words that bash makes, which end at every = and :, so that no limit and no
# cell with one could be completed; what bash then replaces is what follows the last of these
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
        """Return the words before the one that is being written, and what there is of it."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        incomplete = "" if line.endswith(" ") else words.pop()
        return words[1:], incomplete


add_completion_class(Bash)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options, guests, plans, policies and runs.

    For bash, in ~/.bashrc: eval "$(foothold completion bash)". For zsh the same in ~/.zshrc,
    behind compinit. For fish: foothold completion fish > ~/.config/fish/completions/foothold.fish
    """
    kind = get_completion_class(shell)
    assert kind
    root = context.find_root()
    whole = kind(root.command, {}, "foothold", "_FOOTHOLD_COMPLETE")
    # not its own source(): that of bash would start a bash to ask for its version
    click.echo(ShellComplete.source(whole))


def offer_names(command: click.Command) -> None:
    """Let the parameters of a command, or of those in a group, be completed by names."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            offer_names(each)
    for parameter in command.params:
        key = parameter.name or ""
        is_file = key in _FILES or (key in _OR_FILES and isinstance(parameter, click.Argument))
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


def _none(_: click.Context) -> Iterable[str]:
    return ()


def _guests(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.guests.catalogue import known_guests
    from foothold_lab.images.builder import Builder

    return known_guests(Builder())


def _plans(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.plan import shipped

    return shipped()


def _policies(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.evidence.arena_detection import POLICIES

    return POLICIES


def _subjects(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.model.cells import ALLOCATOR
    from foothold_lab.harness.subjects.packaged import RUNTIMES

    return (ALLOCATOR, *RUNTIMES)


def _forms(*words: str) -> Names:
    return lambda _: words


def _commands(context: click.Context) -> Iterable[str]:
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    return root.command.list_commands(root)


def _releases(_: click.Context) -> Iterable[str]:
    from foothold_lab.images.kernel_build import SUITES

    return SUITES


def _images(_: click.Context) -> Iterable[str]:
    from foothold_lab.images.catalogue import RECIPES

    return RECIPES


def _limits(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.model.limits import USAGES

    for usage in USAGES:
        word, equals, value = usage.partition("=")
        # a value that is in capitals has to be typed
        known = value.split("|") if equals and value == value.lower() else [""]
        yield from (f"{word}{equals}{each}" for each in known)


def _runs(_: click.Context) -> Iterable[str]:
    from foothold_lab.harness.cli.runs import kept_runs

    return ["last", *(run.name for run in kept_runs())]


def _cells(context: click.Context) -> Iterable[str]:
    from foothold_lab.harness.cli.runs import find_run

    cells = find_run(context.params["run"]) / "cells"
    return sorted(str(path.parent.relative_to(cells)) for path in cells.rglob("verdict.json"))


def _guests_and_kept(context: click.Context) -> Iterable[str]:
    """Guests to boot, and those that some run keeps."""
    from foothold_lab.harness.cli.context import state

    yield from _guests(context)
    for door in (state() / "runs").glob("*/desk"):
        for guest in (door.parent / "guests").iterdir():
            yield f"{door.parent.name}/{guest.name}"


# a parameter's name -> what can stand there
_NAMES: Mapping[str, Names] = {
    "a": _runs,
    "b": _runs,
    "cell": _cells,
    "command": _commands,
    "compare": _runs,
    "expect": _forms("starts", "path:high", "path:low", "path:refused", "dies:", "anything"),
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
# what is a file, and what may be one besides a name
_FILES = (
    "files", "html_file", "json_file", "junit_file", "output", "subject", "subjects", "sysroot",
)  # fmt: skip
_OR_FILES = ("a", "b", "compare", "plan", "run")
