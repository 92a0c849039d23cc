"""The Python interface: docs/api.md as a doctest, and what the page promises besides."""

from __future__ import annotations

import doctest
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import foothold_lab
from foothold_lab import Builder, Cell, FootholdError, Limits, Plan, open_guest, run
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError

PAGE = Path(__file__).parents[2] / "docs/api.md"
ALLOCATOR = Cell(guest="native", limits=Limits(), policy="after")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without a directory of their own keep their evidence below that of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.uml
def test_the_page_shows_what_happens() -> None:
    results = doctest.testfile(str(PAGE), module_relative=False)
    assert results.attempted > 10
    assert results.failed == 0


def test_the_page_names_everything_that_is_exported() -> None:
    text = PAGE.read_text().partition("## Run cells")[0]
    assert {name for name in foothold_lab.__all__ if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("name", foothold_lab.__all__)
def test_exports_a_name_with_documentation(name: str) -> None:
    assert getattr(foothold_lab, name).__doc__
    assert name in dir(foothold_lab)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Plann'"):
        foothold_lab.Plann  # noqa: B018


def test_mypy_sees_the_types(tmp_path: Path) -> None:
    file = tmp_path / "client.py"
    file.write_text(
        "from foothold_lab import Verdict, open_guest\n"
        "with open_guest('native') as guest:\n"
        "    bits: str = guest.facts.bits\n"
        "    verdict: Verdict = guest.run_cell('/bin/ls', expects='starts')\n"
    )
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(file)],
        capture_output=True, text=True, cwd=PAGE.parents[1], check=False,
    )  # fmt: skip
    assert 'variable has type "str"' in done.stdout
    assert 'Unexpected keyword argument "expects"' in done.stdout
    assert "Found 2 errors in 1 file" in done.stdout


@pytest.mark.uml
def test_cells_use_aliases_and_run_once(tmp_path: Path) -> None:
    alias = Cell(guest="uml-bookworm", limits=Limits(), policy="before")
    result = run([alias, ALLOCATOR, alias], directory=tmp_path / "run", jobs=1)
    assert [each.cell for each in result.verdicts] == ["uml-6.1/none/before", "native/none/after"]
    assert result.passed
    assert result.with_result("pass") == result.verdicts
    assert (tmp_path / "run/run.json").exists()
    with pytest.raises(FootholdError, match="holds a run already"):
        run([ALLOCATOR], directory=tmp_path / "run")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (Cell(guest="nativ", limits=Limits(), policy="after"), "did you mean native"),
        (Cell(guest="native", limits=Limits(), policy="afte"), "did you mean after"),
        (
            Cell(guest="native", limits=Limits(), policy="", subject="go-helo"),
            "did you mean go-hello",
        ),
    ],
)
def test_rejects_a_cell_of_unknown_words(cell: Cell, message: str) -> None:
    with pytest.raises(FootholdError, match=message):
        run([cell])


def test_a_failed_cell_fails_the_run(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'schema = 1\nname = "own"\n[axes]\nguests = ["native"]\nsubjects = ["false"]\n'
        '[subject.false]\nprogram = "/bin/false"\n'
    )
    result = run(plan, directory=tmp_path / "run")
    assert not result.passed
    assert [each.cell for each in result.with_result("fail")] == ["native/none/false"]


def test_a_required_guest_that_cannot_boot_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/at/all.sock")
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'schema = 1\nname = "own"\nrequire = ["docker"]\n'
        '[axes]\nguests = ["docker"]\npolicies = ["after"]\n'
    )
    result = run(plan)
    assert (result.passed, result.missing) == (False, ("docker",))
    loose = run(Plan.load(plan).cells)
    assert loose.passed
    assert len(loose.with_result("unsupported")) == 1
    with pytest.raises(FootholdError) as caught, open_guest("docker"):
        pass
    assert (str(caught.value.blame), bool(caught.value.remedy)) == ("unsupported", True)


@pytest.mark.uml
def test_a_cell_that_a_guest_cannot_run_is_unsupported(builder: Builder) -> None:
    with open_guest("uml-6.1", builder=builder) as guest:
        verdict = guest.run_cell("/bin/ls", limits=Limits(ceiling=1 << 39))
        assert (verdict.result, bool(verdict.remedy)) == ("unsupported", True)
        assert guest.verdicts == [verdict]


def test_a_verdict_names_the_command_that_repeats_it() -> None:
    with open_guest("native") as guest:
        verdict = guest.run_cell("/bin/sh", "-c", 'test "$X" = 1', environment={"X": "1"})
    assert verdict.passed
    assert verdict.command[:2] == ("foothold", "run")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "foothold"), *verdict.command[1:]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.uml
@pytest.mark.parametrize("use", [
    lambda builder: open_guest("uml-6.1", builder=builder).__enter__(),
    lambda builder: run([Cell(guest="native", limits=Limits(), policy="", subject="go-hello")], builder=builder),
], ids=["open_guest", "run"])  # fmt: skip
def test_an_image_that_cannot_be_built_is_one_of_our_errors(
    use: Callable[[Builder], object], tmp_path: Path
) -> None:
    builder = Builder(Cache(tmp_path / "cache"))
    builder.stop()
    with pytest.raises(FootholdError) as caught:
        use(builder)
    assert isinstance(caught.value.__cause__, ImageError)
    assert (str(caught.value.blame), bool(caught.value.remedy)) == ("infrastructure", True)
