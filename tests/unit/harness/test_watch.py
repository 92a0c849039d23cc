"""Which changes count, what a command has made, and what is marked as changed."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import CellFinished
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Observation, Outcome, Result, Verdict
from foothold_lab.harness.watch.answers import Answers
from foothold_lab.harness.watch.inotify import Inotify
from foothold_lab.harness.watch.programs import find_program
from foothold_lab.harness.watch.sources import Changes, SourceWatch
from foothold_lab.harness.watch.view import make_view


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    with Inotify() as watching:
        yield watching


def seen(watch: SourceWatch) -> Changes:
    """What has changed. Waits for it."""
    assert select.select([watch.fileno()], [], [], 10)[0], "nothing has changed"
    return watch.poll()


def test_a_source_changes_when_it_is_written_renamed_touched_or_removed(
    inotify: Inotify, tmp_path: Path
) -> None:
    source = tmp_path / "below/main.c"
    source.parent.mkdir()
    source.write_text("1")
    watch = SourceWatch(inotify, tmp_path)
    source.write_text("2")
    assert seen(watch).sources == {source}
    os.utime(source)
    assert seen(watch).sources == {source}
    (tmp_path / "new.c").write_text("3")
    seen(watch)
    (tmp_path / "new.c").replace(source)
    assert source in seen(watch).sources
    source.unlink()
    assert seen(watch).sources == {source}
    assert not watch.poll()


def test_a_new_directory_is_watched(inotify: Inotify, tmp_path: Path) -> None:
    watch = SourceWatch(inotify, tmp_path)
    (tmp_path / "new").mkdir()
    seen(watch)
    (tmp_path / "new/main.c").write_text("1")
    assert seen(watch).sources == {tmp_path / "new/main.c"}


@pytest.mark.parametrize(
    "name", [".main.c.swp", "4913", "main.c~", ".#main.c", "#main.c#", ".git/index"]
)
def test_files_of_editors_and_of_git_do_not_count(
    inotify: Inotify, tmp_path: Path, name: str
) -> None:
    (tmp_path / ".git").mkdir()
    watch = SourceWatch(inotify, tmp_path)
    (tmp_path / name).write_text("1")
    (tmp_path / "main.c").write_text("1")
    assert seen(watch).sources == {tmp_path / "main.c"}


@pytest.mark.skipif(not shutil.which("git"), reason="no git here")
def test_what_git_ignores_does_not_count(inotify: Inotify, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("*.o\nbuild/\n")
    (tmp_path / "build/deep").mkdir(parents=True)
    watch = SourceWatch(inotify, tmp_path)
    (tmp_path / "build/deep/a").write_text("1")
    (tmp_path / "main.o").write_text("1")
    (tmp_path / "main.c").write_text("1")
    assert seen(watch).sources == {tmp_path / "main.c"}


def test_the_evidence_of_the_run_does_not_count(inotify: Inotify, tmp_path: Path) -> None:
    ours = tmp_path / "run"
    (ours / "cells").mkdir(parents=True)
    watch = SourceWatch(inotify, tmp_path, ours)
    (ours / "run.json").write_text("1")
    (ours / "cells/verdict.json").write_text("1")
    (tmp_path / "main.c").write_text("1")
    assert seen(watch).sources == {tmp_path / "main.c"}


def test_a_program_changes_with_its_files(inotify: Inotify, tmp_path: Path) -> None:
    program, data = tmp_path / "program", tmp_path / "data"
    program.write_text("1")
    data.mkdir()
    watch = SourceWatch(inotify)
    watch.set_program({program, data})
    (tmp_path / "other").write_text("1")
    program.write_text("2")
    changes = seen(watch)
    assert changes.program
    assert not changes.sources
    (data / "table").write_text("1")
    assert seen(watch).program


def test_a_linker_that_has_just_begun_has_not_changed_the_program(
    inotify: Inotify, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    watch = SourceWatch(inotify)
    watch.set_program({program})
    with program.open("w") as file:
        select.select([watch.fileno()], [], [], 10)
        assert not watch.poll()
        file.write("all of it")
    assert seen(watch).program


def test_a_file_that_changes_in_two_builds_is_a_product(inotify: Inotify, tmp_path: Path) -> None:
    watch = SourceWatch(inotify, tmp_path)
    source, product = tmp_path / "main.c", tmp_path / "program"
    product.write_text("1")
    source.write_text("saved while the first build ran")
    first = watch.poll_after_build(())
    assert first == {product, source}
    product.write_text("2")
    assert not watch.poll_after_build(first)
    product.write_text("3")
    source.write_text("saved while the third build ran")
    assert watch.poll_after_build(()) == {source}
    product.write_text("written by a person, between two builds")
    assert seen(watch).sources == {product}


def test_the_only_program_that_was_made_is_found(tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        made = tmp_path / name
        made.parent.mkdir(exist_ok=True)
        made.write_bytes(Path("/bin/true").read_bytes())
        made.chmod(0o755)
        return made

    began = time.time() - 1
    with pytest.raises(UsageError, match="made no program"):
        find_program(tmp_path, began)
    old = copy("old")
    os.utime(old, (1, 1))
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert find_program(tmp_path, began) == old
    new = copy("build/new")
    assert find_program(tmp_path, began) == new
    copy("other")
    with pytest.raises(UsageError, match=r"several programs below .*: build/new, other"):
        find_program(tmp_path, began)


CELL = Cell(guest="native", limits=Limits(), policy="", subject="server")


def verdict(result: Result, outcome: Outcome, message: str = "", *findings: Finding) -> Verdict:
    observed = Observation(path=None, outcome=outcome, status=0, signal=0, message=message)
    return Verdict(cell=CELL.id, result=result, seconds=0.1, observed=observed, findings=findings)


STARTS = verdict(Result.PASS, Outcome.STARTS)
DIES = verdict(Result.FAIL, Outcome.DIES, "pid 17", Finding(Code.PLAN_EXPECTATION, "it died"))


def test_an_answer_that_differs_is_changed_but_not_one_with_another_text() -> None:
    answers = Answers()
    for each, changed in (
        (STARTS, False),
        (STARTS, False),
        (DIES, True),
        (verdict(Result.FAIL, Outcome.DIES, "pid 18", *DIES.findings), False),
        (STARTS, True),
    ):
        answers.begin([CELL])
        answers.add(each)
        assert bool(answers.changed) is changed


def test_a_round_that_was_given_up_does_not_hide_a_change() -> None:
    answers = Answers()
    answers.begin([CELL])
    answers.add(STARTS)
    answers.begin([CELL])  # nothing was answered
    answers.begin([CELL])
    answers.add(DIES)
    assert answers.earlier(DIES) == STARTS


def test_lines_show_every_answer_once_and_then_what_has_changed() -> None:
    stream = StringIO()
    view = make_view(stream, live=False)
    for each in (STARTS, STARTS, DIES):
        view.testing([CELL], time.monotonic())
        view(CellFinished(cell=CELL.id, verdict=each))
        view.answered()
    lines = [
        line.split("  0.")[0].split(", 0.")[0].rstrip() for line in stream.getvalue().splitlines()
    ]
    assert lines == [
        "  pass   native/none/server                 starts",
        "1 cell: 1 passed",
        "1 cell: 1 passed",
        "* fail   native/none/server                 dies, status 0: pid 17",
        "1 cell: 1 failed, 1 changed",
    ]


@pytest.mark.parametrize(
    ("words", "complaint", "remedy"),
    [
        ((), "there is nothing to watch", "foothold watch -- make"),
        (("--",), "-- needs a command after it", "foothold watch -- make"),
        (("./a", "b"), "unexpected argument 'b'", "--arg b"),
        (("./a", "--subject", "./b"), "tests one program", "name only one: ./a"),
        (("no-such-program",), "the program no-such-program does not exist", "./no-such-program"),
        (("./a", "--guest", "nativ"), "unknown guest 'nativ'", "native"),
        (("./a", "--plan", "defualt"), "defualt", "default"),
    ],
)
def test_wrong_command_lines(words: tuple[str, ...], complaint: str, remedy: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", "watch", *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    first, _, second = done.stderr.partition("\n")
    assert complaint in first
    assert remedy in second
