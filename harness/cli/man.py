"""`foothold man`: the manual pages, generated from the help of the commands."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from foothold_lab.harness import __version__

_STATUS = """\
0: everything as expected. 1: a finding. 2: wrong command line or plan. 3: Foothold failed, or no
cell was tried. 130: interrupted. Exceptions are described above."""
_ENVIRONMENT = {
    "FOOTHOLD_CACHE": "directory of the images (default: ~/.cache/foothold)",
    "FOOTHOLD_HISTORY": "database of all runs (default: ~/.local/state/foothold/history.db)",
    "FOOTHOLD_RUNS": "directory that holds the directory of each run (default: ~/.local/state/foothold/runs)",
    "FOOTHOLD_MIRROR": "URL of the Debian mirror to use, instead of that of `foothold setup` or of apt",
    "XDG_CONFIG_HOME": "`foothold setup` writes foothold/config.toml below it (default: ~/.config)",
    "XDG_STATE_HOME": "runs are kept in foothold/ below it (default: ~/.local/state)",
    "NO_COLOR": "if set, print no colours and no live table",
}


@click.command(short_help="Show a manual page.")
@click.argument("command", nargs=-1, metavar="[COMMAND]...")
@click.option(
    "--write",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write all pages into this directory, which is created, as files for man(1).",
)
@click.pass_context
def man(context: click.Context, command: tuple[str, ...], write: Path | None) -> None:
    """Show the manual page of foothold, or of a command.

    On a terminal man(1) shows the page; otherwise its source is printed. If DIR of --write ends in
    man1, `man -M` and MANPATH find the pages there.
    """
    pages = dict(_pages(context.find_root()))
    if write:
        write.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (write / f"{name}.1").write_text(text)
        click.echo(f"{write}: {len(pages)} pages")
        return
    name = "-".join(("foothold", *command))
    if name not in pages:
        raise click.UsageError(f"No such command {' '.join(command)!r}")
    if sys.stdout.isatty() and (program := shutil.which("man")):
        subprocess.run([program, "-l", "-"], input=pages[name], text=True, check=False)
    else:
        click.echo(pages[name], nl=False)


def _pages(context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the name and source of the page of a command, and of the commands in it."""
    command = context.command
    name = context.command_path.replace(" ", "-")
    inner = []
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found
            inner.append(click.Context(found, info_name=each, parent=context))
    yield name, _page(name, context, inner)
    for each_context in inner:
        yield from _pages(each_context)


def _page(name: str, context: click.Context, inner: list[click.Context]) -> str:
    """Return the source of a page, in the format of man(7)."""
    command = context.command
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{name.upper()}" 1 "" "foothold {__version__}" "Foothold"',
        ".SH NAME", f"{_plain(name)} \\- {_plain(command.get_short_help_str(200).rstrip('.'))}",
        ".SH SYNOPSIS", f".B {_plain(context.command_path)}", _plain(usage),
        ".SH DESCRIPTION", *_paragraphs(command.help or ""),
    ]  # fmt: skip
    options = [each.get_help_record(context) for each in command.get_params(context)]
    lines += _list("OPTIONS", [record for record in options if record and record[1]])
    commands = [(each.info_name or "", each.command.get_short_help_str(200)) for each in inner]
    lines += _list("COMMANDS", commands)
    lines += _list("EXAMPLES", list(getattr(command, "examples", ())))
    lines += [".SH EXIT STATUS", _plain(_STATUS)]
    lines += _list("ENVIRONMENT", list(_ENVIRONMENT.items()))
    others = [each.command_path for each in inner] or ["foothold"]
    if name != "foothold":
        lines += [
            ".SH SEE ALSO",
            ", ".join(f"\\fB{_plain(o.replace(' ', '-'))}\\fR(1)" for o in others),
        ]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    for n, paragraph in enumerate(text.strip().split("\n\n")):
        if n:
            yield ".PP"
        yield from (_plain(line.strip()) for line in paragraph.splitlines())


def _list(title: str, entries: list[tuple[str, str]]) -> Iterator[str]:
    if entries:
        yield f".SH {title}"
    for term, meaning in entries:
        yield from (".TP", f"\\fB{_plain(term)}\\fR", _plain(meaning))


def _plain(text: str) -> str:
    """Escape text for roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in text)
    return f"\\&{text}" if text.startswith((".", "'")) else text
