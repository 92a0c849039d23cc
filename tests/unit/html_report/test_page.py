"""The page: one file, whole, escaped, and a function of the run directory alone."""

from __future__ import annotations

import re
import shutil
import unicodedata
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec import structs

from foothold_lab.harness.cli import main
from foothold_lab.harness.html_report.document import visible
from foothold_lab.harness.html_report.page import render
from foothold_lab.harness.html_report.read import read_run
from foothold_lab.harness.html_report.reporter import HtmlReporter
from foothold_lab.harness.model.escape import escape_line
from foothold_lab.harness.model.events import RunStarted
from foothold_lab.harness.model.verdict import Result
from tests.unit.harness import samples
from tests.unit.html_report import runs

VOID = {"meta", "input", "br", "hr", "img", "link"}


@dataclass
class Page(HTMLParser):
    """What a page is made of. Complains of tags that do not match."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def parsed(page: bytes) -> Page:
    one = Page()
    one.feed(page.decode())
    one.close()
    assert one.open == []
    return one


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return runs.write(tmp_path / "run", runs.events())


def test_every_link_leads_somewhere_on_the_page(directory: Path) -> None:
    page = parsed(render(read_run(directory)))
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    links = page.attributes("href")
    assert {f"#{cell.id}" for cell in runs.CELLS} <= set(links)
    for link in links:
        assert link.startswith("#")
        assert link[1:] in ids, link


def test_nothing_is_fetched(directory: Path) -> None:
    page = parsed(render(read_run(directory)))
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"src", "srcset", "data", "action", "poster", "style"}
    assert not re.search(r"@import|url\((?!#)", "".join(page.text))
    (policy,) = (each for each in page.attributes("content") if "default-src" in each)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_the_page_says_everything_of_a_cell(directory: Path) -> None:
    text = "".join(parsed(render(read_run(directory))).text)
    for told in (
        "1 of 4 cells is not as expected",  # the guest that hung
        "64K --- at 0xf800000000",
        "moved to 0x405d9000",
        "task size 0x7f80000000",  # the picture
        "0xcc00000: arena, 512M, 6M used",
        "exited with 0",
        "status 0; 0.25 s",
        "ended well",  # the witnesses
        "replaced by MAP_FIXED, kept",  # the ledger
        "foothold run --guest uml-6.12 --limit none --policy after",
        "no engine answers",
        "start one",
        "the guest hung",
        "last words",
        "qemu -x",
        "not reached: the run ended before this cell",
        "throw: runtime: out of memory",
        "39 bits, 3",
        "47 bits, 4",  # the facts
    ):
        assert told in text, told


def test_a_run_of_other_programs_does_not_mention_the_address_of_the_allocator(
    directory: Path, tmp_path: Path
) -> None:
    assert "0xf840000000" in words_of(directory)
    started, *others = runs.events()
    assert isinstance(started, RunStarted)
    cells = tuple(replace(cell, subject="redis") for cell in started.cells)
    other = runs.write(tmp_path / "other", [structs.replace(started, cells=cells), *others])
    assert "0xf840000000" not in words_of(other)
    assert "low-grown" not in words_of(other)


def words_of(directory: Path) -> str:
    """Return the section of a page that explains its words."""
    page = render(read_run(directory)).decode()
    return page.partition('<h2 id="words">')[2].partition("</section>")[0]


def test_a_picture_says_the_same_in_words(directory: Path) -> None:
    page = render(read_run(directory)).decode()
    (low,) = re.findall(
        r'<svg class="map"[^>]*aria-label="Address space of uml-6.12.*?</svg>', page, re.DOTALL
    )
    assert 'role="img"' in low
    assert "<title>Address space of uml-6.12/none/after</title>" in low
    assert "64K --- at 0xf800000000: moved to 0x405d9000" in low.split("</desc>")[0]


def test_the_same_directory_makes_the_same_page(directory: Path) -> None:
    assert render(read_run(directory)) == render(read_run(directory))


def test_what_a_subject_wrote_is_text_and_nothing_else(tmp_path: Path) -> None:
    page = render(read_run(runs.hostile(tmp_path / "run")))
    one = parsed(page)
    assert [tag for tag, _ in one.tags].count("script") == 1
    assert "img" not in [tag for tag, _ in one.tags]
    assert not [name for _, attributes in one.tags for name in attributes if name[:2] == "on"]
    strange = {char for char in page.decode() if unicodedata.category(char) in ("Cc", "Cf", "Co")}
    assert strange == {"\n"}
    text = "".join(one.text)
    assert text.count(escape_line(runs.NASTY)) > 12
    assert "\\xff\\xfe\\xc3(" in text


def test_a_large_run_does_not_open_itself_on_paper(tmp_path: Path) -> None:
    cells = [samples.cell(rlimit=n << 20) for n in range(1, 102)]
    directory = runs.write(tmp_path / "run", [samples.started(*cells)], evidence=False)
    assert b'<body class="large">' in render(read_run(directory))


def test_more_variants_than_stand_beside_each_other(tmp_path: Path) -> None:
    cells = [samples.cell(policy=policy) for policy in ("before", "after", "grsec", "memlimit")]
    directory = runs.write(tmp_path / "run", [samples.started(*cells)], evidence=False)
    page = render(read_run(directory)).decode()
    assert page.count('<tr class="part">') == 4


def test_what_was_asked_twice_stands_in_one_field(tmp_path: Path) -> None:
    again = replace(samples.cell(), repeat=2)
    directory = runs.write(
        tmp_path / "run", [samples.started(samples.cell(), again)], evidence=False
    )
    page = parsed(render(read_run(directory)))
    assert {"#native/none/after", "#native/none/after~2"} <= set(page.attributes("href"))
    assert [tag for tag, _ in page.tags].count("td") == 1


def test_a_run_of_no_cells_has_a_page(tmp_path: Path) -> None:
    directory = runs.write(
        tmp_path / "run", [samples.started(), samples.finished()], evidence=False
    )
    assert "There was no cell to run" in "".join(parsed(render(read_run(directory))).text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\tb\nc", "a    b\nc"), ("\x1b[1m", "\\x1b[1m"), ("größe – ✓", "größe – ✓"), (None, "")],
)
def test_hidden_characters_are_seen(text: str | None, shown: str) -> None:
    assert visible(text) == shown


def test_the_sink_writes_the_page_of_its_run(tmp_path: Path) -> None:
    directory, path = tmp_path / "run", tmp_path / "deep/page.html"
    sink = HtmlReporter(path, directory)
    happened = runs.events(Result.FAIL, finished=False)
    runs.write(directory, happened)
    for event in happened:
        sink(event)
    assert not path.exists()
    sink.close()
    assert path.read_bytes() == render(read_run(directory))
    assert b"was killed" in path.read_bytes()


def test_a_run_without_cells_leaves_no_page(tmp_path: Path) -> None:
    HtmlReporter(tmp_path / "page.html", tmp_path / "run").close()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of this user's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    home = tmp_path / "foothold/runs"
    runs.write(home / "20260101T000000Z-aaaa", runs.events())
    runs.write(home / "20260102T000000Z-bbbb", runs.events(Result.FAIL))
    return home


def test_the_command_finds_a_run(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["report"]) == 0
    newest = kept / "20260102T000000Z-bbbb/report.html"
    assert capsys.readouterr().out.strip() == str(newest)
    assert b"2 of 4 cells are not as expected" in newest.read_bytes()
    assert main.main(["report", "20260101T000000Z-aaaa", "-o", str(kept / "one.html")]) == 0
    assert main.main(["report", str(kept / "20260101T000000Z-aaaa")]) == 0
    first = (kept / "20260101T000000Z-aaaa/report.html").read_bytes()
    assert first == (kept / "one.html").read_bytes()


def test_the_command_compares(kept: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    compare = ["report", "last", "--compare", "20260101T000000Z-aaaa", "-o", "-"]
    assert main.main(compare) == 0
    out = capfdbinary.readouterr().out
    assert b"new failure: 1" in out
    assert out.endswith(b"</html>\n")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere"], 2, "there is no run 'nowhere'"),
        (["."], 2, "no run.json"),
        (["--compare", "nowhere"], 2, "there is no run 'nowhere'"),
        (["-o", "/dev/null/page.html"], 2, "there is no directory"),
    ],
)
def test_usage(
    kept: Path, words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["report", *words]) == code
    error = capsys.readouterr().err
    assert told in error
    assert "remedy" in error


def test_without_a_run_there_is_no_last_one(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(kept)
    assert main.main(["report", "last"]) == 2
    assert "there is no run 'last'" in capsys.readouterr().err


def test_what_passed_at_a_later_try_says_so(tmp_path: Path) -> None:
    one = samples.cell()
    failed = samples.verdict(one, Result.FAIL, "it failed at first").as_attempt()
    seen = samples.observation(samples.HIGH_ALLOCATES)
    happened = [
        samples.started(one),
        samples.done(one, attempts=(failed,), observed=seen),
        samples.finished(),
    ]
    page = parsed(render(read_run(runs.write(tmp_path / "run", happened, evidence=False))))
    text = "".join(page.text)
    assert "The cell is as expected, but not at once" in text
    assert "try 1: fail: it failed at first" in text
    assert "high, allocates (at try 2)" in text
    assert any("passed when it was retried" in each for each in page.attributes("aria-label"))
    calm = parsed(render(read_run(runs.write(tmp_path / "calm", runs.events()))))
    assert "not at once" not in "".join(calm.text)


@pytest.mark.parametrize("rest", ["", "\nsecond line", "\x1b"])
def test_a_long_line_says_how_much_of_it_is_left_out(rest: str) -> None:
    shown = visible("a" * 4000 + "b" * 3000 + "c" * 2000 + rest)
    left_out = 5000 + len(rest.partition("\n")[0])
    assert f"a [… {left_out} characters of this line are left out …] " in shown
    assert shown.startswith("a" * 2000)
    assert "b" not in shown.partition("characters")[0]
    assert visible("a" * 4000) == "a" * 4000
