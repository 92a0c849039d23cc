"""The pages: every link leads somewhere, and every page can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOT_PAGES = sorted(ROOT.glob("*.md"))
PAGES = [*ROOT_PAGES, *sorted((ROOT / "docs").glob("*.md"))]
_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_FILE = re.compile(r"`((?:allocator|harness|images|plans|tests|docs)/[\w/.*-]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the relative links of a page: the file, and the part behind `#` or an empty string."""
    for target in _LINK.findall(_FENCED.sub("", page.read_text())):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            yield (page.parent / name if name else page).resolve(), anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), f"{page.name} links to {target.name}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {target.name}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    for name in _FILE.findall(page.read_text()):
        assert list(ROOT.glob(name)), f"{page.name} names {name}"


def test_every_page_is_listed() -> None:
    entries = (ROOT / "README.md", ROOT / "docs/index.md")
    listed = {target for page in entries for target, _ in links(page)}
    missing = set(PAGES) - set(ROOT_PAGES) - listed
    assert not missing, f"add to docs/index.md: {', '.join(each.name for each in missing)}"


def test_the_readme_has_five_screens_at_most() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_changelog_links_its_versions() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert set(versions) <= set(re.findall(r"^\[(.+?)\]: https://", text, re.MULTILINE))


def test_the_workflows_are_those_of_the_page() -> None:
    """docs/ci.md shows each workflow in full, after a comment with its path."""
    _, _, own = _read("docs/ci.md").partition("## Foothold's own workflows")
    blocks = re.findall(r"^```yaml\n(# (\S+)\n.*?)^```", own, re.MULTILINE | re.DOTALL)
    shown = {path: text for text, path in blocks if path.startswith(".github/")}
    files = {str(path.relative_to(ROOT)) for path in (ROOT / ".github/workflows").iterdir()}
    assert set(shown) == files
    for path, text in shown.items():
        assert _read(path) == text, f"{path} differs from docs/ci.md"


def _read(path: str) -> str:
    return (ROOT / path).read_text()


def test_every_test_that_security_names_exists() -> None:
    """SECURITY.md promises what these tests prove."""
    text = (ROOT / "SECURITY.md").read_text()
    files = list((ROOT / "tests").rglob("test_*.py"))  # two may have the same name
    functions = {
        name
        for path in files
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(?:tests/[\w/]+/)?(test_\w+(?:\.py)?)`", text))
    assert len(named) > 20
    known = functions | {path.name for path in files}
    assert named <= known, named - known


def test_every_promise_of_security_names_its_proof() -> None:
    """Each row of a table that says what someone may not do ends with a test."""
    _, _, promises = (ROOT / "SECURITY.md").read_text().partition("## Promises and their proof")
    rows = [line for line in promises.splitlines() if line.startswith("|") and "---" not in line]
    assert len(rows) > 20
    for row in rows:
        *_, may_not, proof = (cell.strip() for cell in row.strip("|").split("|"))
        if may_not and may_not not in ("may not", "is stopped by"):
            assert "test_" in proof, row
