"""The blocks of the pages do what the pages say, in real guests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from foothold_lab.images.builder import Builder
from tests.pages.blocks import BLOCKS, Block
from tests.pages.comparison import difference
from tests.pages.workspace import SECONDS, Workspace, fill, lay_out, needs_terminal

pytestmark = [
    pytest.mark.guests,
    pytest.mark.skipif(
        not shutil.which("bash"), reason="no bash here, for which the pages are written"
    ),
]
Open = Callable[[str], Workspace]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Makes the workspace of a page, once."""

    @cache
    def make(page: str) -> Workspace:
        made = lay_out(tmp_path_factory.mktemp("pages") / page.removesuffix(".md"))
        fill(made, Builder())
        return made

    return make


def blocks(*languages: str) -> list[object]:
    """Return the blocks in these languages as parameters, with their markers."""
    return [
        pytest.param(
            block,
            id=block.name,
            marks=list(_marks(block)),
        )
        for block in BLOCKS
        if block.language in languages
        and (block.commands or block.language == "toml")
        and "only-parsed" not in block.settings
    ]


def _marks(block: Block) -> Iterator[pytest.MarkDecorator]:
    if "when" in block.settings:
        yield from (pytest.mark.weekly, pytest.mark.timeout(SECONDS))
    if "uml" in " ".join((block.text, *block.settings.values())):
        yield pytest.mark.uml


@pytest.mark.parametrize("block", blocks("toml"))
def test_a_plan_of_a_page_passes(block: Block, workspace: Open) -> None:
    place = workspace(block.page)
    (place.path / "mine.toml").write_text(block.text)
    status, printed = place.run("./foothold run mine.toml")
    assert status == 0, printed


@pytest.mark.uml
def test_the_tests_of_a_page_pass(workspace: Open) -> None:
    """The page of the pytest plugin shows tests of `./server`, which UML 6.1 kills."""
    place = workspace("pytest.md")
    [block] = [each for each in BLOCKS if each.page == "pytest.md" and each.language == "python"]
    (place.path / "test_server.py").write_text(block.text)
    status, printed = place.run(
        "python -m pytest -q -p no:cacheprovider test_server.py --foothold-guest uml-6.1"
    )
    assert status == 1, printed
    assert "FAILED test_server.py::test_my_server_starts[foothold:uml-6.1]" in printed
    assert "1 failed, " in printed


@pytest.mark.parametrize("block", blocks("sh", "console", "text"))
def test_a_page_shows_what_its_commands_print(block: Block, workspace: Open) -> None:
    place = workspace(block.page)
    if command := block.settings.get("before"):
        status, printed = place.run(command)
        assert status in (0, 1), printed
    for (command, shown), wanted in zip(sessions(block), block.statuses, strict=True):
        lines = shown.splitlines()
        if needs_terminal(lines):
            status, printed = place.converse(command, lines)
        else:
            status, printed = place.run(command)
        assert status == wanted, f"{command}\n{printed}"
        if lines:
            assert not (wrong := difference(shown, printed)), f"{command}\n{wrong}"


def sessions(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a block, each with what the page shows below it."""
    if block.language == "sh":
        return [(command, "") for command in block.commands]
    if command := block.settings.get("prints"):
        return [(command, block.text)]
    _, *parts = f"\n{block.text}".split("\n$ ")
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]
