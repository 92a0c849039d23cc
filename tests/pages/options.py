"""Checks the command lines of the pages against the commands of Foothold, without running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from foothold_lab.harness.cli.main import foothold

# what may stand before the name of a program
_BEFORE = re.compile(r"env|exec|-i|\w+=.*")
_OPERATORS = frozenset({"|", "||", "&&", ";", ">", "<", "(", ")", "&"})


def invocations(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of Foothold in a line of a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if token not in _OPERATORS:
            words.append(token)
            continue
        program = next((at for at, word in enumerate(words) if not _BEFORE.fullmatch(word)), 0)
        if words and re.fullmatch(r"(\./)?foothold", words[program]):
            yield words[program + 1 :]
        words = []


def check(arguments: list[str]) -> None:
    """Parse the arguments of Foothold. Raises click.ClickException."""
    if arguments[:1] in (["test"], ["bench"]):  # of the launcher
        return
    context = foothold.make_context("foothold", list(arguments))
    command: click.Command = foothold
    rest = list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None, f"unknown command {name}"
        command = found
        context = command.make_context(name, list(rest), parent=context)
