"""`foothold completion`: what a shell may offer, and which of the names there are fits where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

Names = Callable[[click.Context], Iterable[str]]


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
        if names := _NAMES.get(parameter.name or ""):
            parameter.shell_complete = _completer(names)  # type: ignore[method-assign, assignment]


def _completer(names: Names) -> Callable[[click.Context, str], list[CompletionItem]]:
    def complete(context: click.Context, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names(context) if name.startswith(incomplete)]

    return complete


def _guests(_: click.Context) -> Iterable[str]:
    from harness.guests.catalogue import known_guests
    from images.builder import Builder

    return known_guests(Builder())


def _plans(_: click.Context) -> Iterable[str]:
    from harness.plan import shipped

    return shipped()


def _policies(_: click.Context) -> Iterable[str]:
    from harness.witnesses.arenas import POLICIES

    return POLICIES


def _images(_: click.Context) -> Iterable[str]:
    from images.catalogue import RECIPES

    return RECIPES


def _limits(_: click.Context) -> Iterable[str]:
    from harness.limits import USAGES

    for usage in USAGES:
        word, equals, value = usage.partition("=")
        # a value that is in capitals has to be typed
        known = value.split("|") if equals and value == value.lower() else [""]
        yield from (f"{word}{equals}{each}" for each in known)


def _runs(_: click.Context) -> Iterable[str]:
    from harness.cli.common import state

    runs = sorted(
        (path.parent.name for path in (state() / "runs").glob("*/run.json")), reverse=True
    )
    return ["last", *runs]


def _cells(context: click.Context) -> Iterable[str]:
    from harness.cli.keep import find_run

    cells = find_run(context.params["run"]) / "cells"
    return sorted(str(path.parent.relative_to(cells)) for path in cells.rglob("verdict.json"))


def _guests_and_kept(context: click.Context) -> Iterable[str]:
    """Guests to boot, and those that some run keeps."""
    from harness.cli.common import state

    yield from _guests(context)
    for door in (state() / "runs").glob("*/desk"):
        for guest in (door.parent / "guests").iterdir():
            yield f"{door.parent.name}/{guest.name}"


# a parameter's name -> what can stand there
_NAMES: Mapping[str, Names] = {
    "cell": _cells,
    "guest": _guests,
    "guests": _guests,
    "limit": _limits,
    "limits": _limits,
    "names": _images,
    "plan": _plans,
    "policies": _policies,
    "policy": _policies,
    "require": _guests,
    "run": _runs,
    "words": _guests_and_kept,
}
