"""The code blocks of the pages, and how each is to be tried.

A block says by its language what it is: `sh` is a script whose commands exit with status 0,
`console` a session with what it prints, `pycon` a session of Python, `python` a module, `toml` a
plan, `yaml` a file of a CI system, `text` is not executed. Comments of HTML before a block, which
no reader sees, add settings:

    <!-- when: weekly -->          takes minutes: the marker of the test
    <!-- exit: 0 1 -->             the exit status of each command, if it is not 0
    <!-- before: COMMAND -->       a command that is executed before the block
    <!-- prints: COMMAND -->       the block is what this command prints
    <!-- only-parsed: REASON -->   cannot run on every machine; the options are checked
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "RELEASE.md", ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
)  # fmt: skip
LANGUAGES = frozenset({"sh", "console", "pycon", "python", "toml", "yaml", "text"})
SETTINGS = frozenset({"when", "exit", "before", "prints", "only-parsed"})
_SETTING = re.compile(r"<!-- ([\w-]+): (.+?) -->")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Where the block is: `plans.md:9`."""
        return f"{self.page}:{self.line}"

    @property
    def statuses(self) -> list[int]:
        """The exit status that each command must have."""
        return [int(word) for word in self.settings.get("exit", "").split()] or [0] * len(
            self.commands
        )

    @property
    def commands(self) -> list[str]:
        """The command lines of a script or a session, without their comments."""
        if command := self.settings.get("prints"):
            return [command]
        if self.language == "console":
            return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        if self.language == "sh":
            lines = self.text.replace("\\\n", " ").splitlines()
            return [
                line.partition("  # ")[0].strip()
                for line in lines
                if line and not line.startswith("#!")
            ]
        return []


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in their order. Indented code is a mistake of the page."""
    found: list[Block] = []
    settings: dict[str, str] = {}
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "html_block":
            settings |= dict(_SETTING.findall(token.content))
            continue
        if token.type in ("fence", "code_block"):
            assert token.map
            found.append(
                Block(
                    page=page.name, line=token.map[0] + 1, language=token.info, text=token.content,
                    settings=settings,
                )
            )  # fmt: skip
        settings = {}
    return found


def inline_commands(page: Path) -> list[str]:
    """Return the commands of Foothold that stand in sentences: `foothold report`."""
    children = [
        child
        for token in MarkdownIt().enable("table").parse(page.read_text())
        for child in token.children or ()
    ]
    codes = [child.content for child in children if child.type == "code_inline"]
    return [code for code in codes if re.match(r"(\./)?foothold [a-z-]", code)]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
