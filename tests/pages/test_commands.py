"""Every command of the pages is one that Foothold accepts, with options that it has."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from foothold_lab.harness.model.errors import FootholdError
from tests.pages.blocks import BLOCKS, LANGUAGES, PAGES, SETTINGS, Block, blocks_of, inline_commands
from tests.pages.comparison import difference
from tests.pages.options import check, invocations
from tests.pages.workspace import lay_out

_PLACEHOLDERS = {"…": "", "[": "", "]": "", "FILE": "server", "DIR": ".", "RUN": "last"}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_says_how_it_is_tried(block: Block) -> None:
    assert block.language in LANGUAGES
    assert set(block.settings) <= SETTINGS
    assert len(block.statuses) == len(block.commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_foothold_accepts_the_commands_of_a_page(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lay_out(tmp_path / "home").path)
    lines = [command for block in blocks_of(page) for command in block.commands]
    wrong = [mistake for line in lines if (mistake := mistake_of(line))]
    for line in inline_commands(page):
        for placeholder, value in _PLACEHOLDERS.items():
            line = line.replace(placeholder, value)
        mistake = mistake_of(line)
        # a sentence may name a command or an option without its arguments
        if mistake and "Missing" not in mistake and "requires an argument" not in mistake:
            wrong.append(mistake)
    assert not wrong, "\n".join(wrong)


def mistake_of(line: str) -> str:
    """Say what Foothold does not accept in a command line; empty if it accepts it."""
    for arguments in invocations(line):
        try:
            check(arguments)
        except click.exceptions.Exit as end:  # of --help, --version
            assert end.exit_code == 0, line
        except (click.ClickException, FootholdError) as error:
            message = error.format_message() if isinstance(error, click.ClickException) else error
            return f"{line}: {message}"
    return ""


@pytest.mark.parametrize(
    ("shown", "printed", "agree"),
    [
        ("a 1.5 s", "a 20 s", True),
        ("moved, 0x40226000", "moved, 0x40337000", True),
        ("at 0xf840000000", "at 0xf800000000", False),
        ("a\nb", "a\nc\nb", False),
        ("a\n…\nb", "a\nc\nb", True),
        ("a\n…", "b\na\nc", False),
        ("a", "a\nb", False),
        ("kept in …/runs/20261124T002315Z-97b2", "kept in /x/runs/20261125T002315Z-0000", True),
        ("pass   b/none/x  1 s\npass   a/none/x  1 s", "pass   a/none/x  2 s\npass   b/none/x  3 s", True),
        ("pass   a/none/x  1 s", "pass   a/none/x  1 s\npass   b/none/x  1 s", False),
        ("pass   b/none/x  1 s\n…", "pass   a/none/x  1 s\npass   b/none/x  1 s\nc", True),
        ("pass   a/none/x  1 s\n…", "fail   a/none/x  1 s", False),
        ("1 cell: 1 passed", "uml-6.1: ready in 3 s\n1 cell: 1 passed", True),
        ("building a\nx", "building a\nbuilt a in 3.0 s: 2 MiB\nx", True),
        ("building a\nx", "waiting for another process that is building a\nx", True),
        ("building a\nx", "building a\ny", False),
    ],
)  # fmt: skip
def test_what_a_page_shows_is_compared(shown: str, printed: str, agree: bool) -> None:
    assert (difference(shown, printed) == "") is agree


def test_an_option_that_is_gone_is_found() -> None:
    [arguments] = invocations("env -i ./foothold run --no-such-option | grep x")
    with pytest.raises(click.ClickException, match="No such option"):
        check(arguments)
