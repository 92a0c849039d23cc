"""What the commands print of a history, and with what they end."""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.cli import main
from foothold_lab.harness.model.verdict import Observation
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.results_db.database import Database
from tests.unit.harness import samples
from tests.unit.results_db import made

ONE, TWO = made.cell("native"), made.cell("uml-6.1")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two nights, in the second of which a guest failed; a release between them."""
    path = tmp_path / "h.db"
    monkeypatch.setenv("FOOTHOLD_HISTORY", str(path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    kernel = replace(samples.facts(), release="6.1.177")
    good = {ONE: made.passes(ONE), TWO: made.passes(TWO)}
    bad = {ONE: made.second_try(ONE), TWO: made.fails(TWO, "it went \x1b[31mlow")}
    with Database(path) as database:
        made.Made(name="2026-a", at=86400.0, verdicts=good).write(database)
        made.Made(name="2026-b", at=86500.0, verdicts=good, plan="release").write(database)
        made.Made(name="2026-c", at=86600.0, verdicts=bad, facts={"uml-6.1": kernel}).write(
            database
        )
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main.main(list(arguments)) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "\x1b" not in out, "nothing of a guest reaches the terminal raw"
    return out + err


def test_lists_runs(capsys: pytest.CaptureFixture[str]) -> None:
    head, *lines = said(capsys, "history").splitlines()
    assert head.split() == ["run", "started", "plan", "state", "cells", "time", "Foothold"]
    assert [line.split()[0] for line in lines] == ["2026-c", "2026-b", "2026-a"]
    assert re.search(r"nightly +finished +1 passed, 1 failed, 1 flaky +9.5 s +0.1.0 abc", lines[0])
    assert len(said(capsys, "history", "--count", "1").splitlines()) == 2
    assert "2026-b" not in said(capsys, "history", "--plan", "nightly")
    assert "no runs of plan x in" in said(capsys, "history", "--plan", "x")
    runs = json.loads(said(capsys, "history", "--json"))
    assert [run["counts"] for run in runs] == [{"fail": 1, "pass": 1}, {"pass": 2}, {"pass": 2}]


def test_shows_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "show")
    assert text.startswith("2026-c: plan nightly, finished after 9.5 s, started 1970-01-0")
    assert "Foothold 0.1.0 abc, Python 3.11.7, Linux 6.18" in text
    assert re.search(r"uml-6.1 +6.1.177 +0.50 s", text)
    assert re.search(
        r"fail +uml-6.1/none/after +0.25 s +low, allocates: it went \\x1b\[31mlow", text
    )
    assert re.search(r"pass +native/none/after +0.25 s +high, allocates \(flaky, at try 2\)", text)
    whole = json.loads(said(capsys, "show", "last~1", "--json"))
    assert (whole["run"]["name"], len(whole["boots"]), len(whole["cells"])) == ("2026-b", 2, 2)


def test_shows_a_cell_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "show", "2026-c", "native")
    for told in (
        "native/none/after of 2026-c: pass\n",
        "  expected   high, allocates\n",
        "  observed   high, allocates\n",
        "  try 1: fail in 0.25 s: the plan expects high\n",
        "  report: says so\n",
        "guest native: 0.50 s; /runs/2026-c/guests/native\n",
        "  image image: native-1\n",
        "  task_size: 0x7ffffffff000\n",
        "  hint_high.asked: 0xf800000000\n",
        "again: foothold run --guest native",
    ):
        assert told in text, told
    whole = json.loads(said(capsys, "show", "2026-c", "uml", "--json"))
    assert whole["verdict"]["findings"] == [
        {"code": "plan/expectation", "text": "it went \x1b[31mlow"}
    ]
    assert whole["boot"]["facts"]["release"] == "6.1.177"


def test_shows_a_cell_without_a_verdict(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    run = made.Made(
        name="2026-d", at=9e9, verdicts={ONE: made.passes(ONE)}, missing=(TWO,), interrupted=True
    )
    with Database(file) as database:
        run.write(database)
    assert "the run was interrupted before this cell" in said(capsys, "show", "last", "uml")
    text = said(capsys, "compare", "2026-b", "last", code=3)
    assert "2026-d is interrupted: 1 passed, 1 not run" in text


def test_new_failures_are_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "compare", "2026-a", "2026-c", code=1)
    for told in (
        "A  2026-a  nightly  2 passed\nB  2026-c  nightly  1 passed, 1 failed, 1 flaky\n",
        "new failures\n"
        "  uml-6.1/none/after: pass (high, allocates) → fail (low, allocates)\n"
        "      it went \\x1b[31mlow [plan/expectation]\n",
        "flaky: a retry had another verdict\n  native/none/after\n",
        "kernels and images\n  uml-6.1: release 6.12.113 → 6.1.177\n",
    ):
        assert told in text, told
    assert "different path" not in text, "it is listed above"
    whole = json.loads(said(capsys, "compare", "2026-a", "2026-c", "--json", code=1))
    assert [each["cell"] for each in whole["new_failures"]] == [TWO.id]


def test_compares_the_last_two_runs_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "compare", code=1).startswith("A  2026-b")
    assert said(capsys, "compare", "--plan", "nightly", code=1).startswith("A  2026-a")
    assert "repaired\n" in said(capsys, "compare", "last", "2026-a")
    assert "no difference" in said(capsys, "compare", "2026-a", "2026-b")


def test_lists_flaky_cells(capsys: pytest.CaptureFixture[str]) -> None:
    head, line = said(capsys, "flaky").splitlines()
    assert head.split() == ["cell", "last", "run", "retries", "verdicts"]
    assert line.split() == [ONE.id, "2026-c", "1", "3", "x", "pass", "high", "allocates"]
    assert "no cell changed its verdict" in said(capsys, "flaky", "--plan", "release")
    [one] = json.loads(said(capsys, "flaky", "--json"))
    assert (one["cell"], one["retries"]) == (ONE.id, 1)


def test_a_run_directory_needs_no_history(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    for name, verdict in (("x", made.passes(ONE)), ("y", made.fails(ONE))):
        sink = RunDirectoryReporter(tmp_path / name)
        for event in made.Made(name=name, at=1.0, verdicts={ONE: verdict}).events():
            sink(event)
        sink.close()
    x, y = str(tmp_path / "x"), str(tmp_path / "y")
    absent = tmp_path / "none.db"
    none = str(absent)
    assert "1 failed" in said(capsys, "show", y, "--history", none)
    assert "observed   low" in said(capsys, "show", y, "native", "--history", none)
    assert "new failures" in said(capsys, "compare", x, y, "--history", none, code=1)
    assert not absent.exists(), "who reads leaves nothing"
    said(capsys, "compare", "2026-a", y, code=1)
    archive = tmp_path / "y.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(y, "y")
    told = said(capsys, "history", "import", x, str(archive), "--history", none)
    assert told.splitlines() == ["x: 1 cell of the plan nightly", "y: 1 cell of the plan nightly"]
    listed = said(capsys, "history", "--history", none)
    assert listed.count("nightly") == 2
    said(capsys, "history", "import", x, str(archive), "--history", none)
    assert said(capsys, "history", "--history", none) == listed, "an import can be repeated"


def test_shows_a_verdict_without_path_and_outcome(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    seen = Observation(
        path=None, outcome=None, status=-1, signal=9, message="", evidence={"report": "cut"}
    )
    verdict = made.fails(
        ONE, observed=seen, console="Kernel panic\x07", remedy="look", notes=("n",)
    )
    with Database(file) as database:
        made.Made(name="2027", at=9e9, verdicts={ONE: verdict}).write(database)
    text = said(capsys, "show", "2027", "native")
    for told in ("observed   killed by SIGKILL", "| Kernel panic\\x07", "remedy: look", "note: n"):
        assert told in text
