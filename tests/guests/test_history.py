"""Two real runs, compared; and a program that passes only when it is asked again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.guests.native import Native
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import MEMORY, Database
from foothold_lab.harness.runner import run
from foothold_lab.images.builder import Builder
from tests.guests.conftest import happen


@pytest.fixture(scope="module", autouse=True)
def images(builder: Builder) -> None:
    for name in ("agent", "strace"):
        builder.image(name)


def foothold(*arguments: str, code: int = 0) -> str:
    argv = [sys.executable, "-m", "foothold_lab.harness.cli", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_two_runs_of_the_same_differ_in_nothing(tmp_path: Path) -> None:
    for n in (1, 2):
        foothold("run", "--guest", "native", "--limit", "none", "--run-dir", str(tmp_path / f"{n}"))
    assert len(foothold("history").splitlines()) == 3
    found = json.loads(foothold("compare", "--json"))
    assert found["common"] == 2
    told = (
        "new_failures", "repaired", "changed_paths", "lost_answers", "changed_inputs",
        "changed_kernels", "changed_facts", "only_a",
    )  # fmt: skip
    assert {name: found[name] for name in told} == {name: [] for name in told}
    cell = json.loads(foothold("show", "last", "native/none/after", "--json"))
    assert cell["verdict"]["result"] == "pass"
    assert cell["boot"]["images"].keys() == {"agent", "strace"}
    assert cell["run"]["provenance"]["code"]
    assert json.loads(foothold("flaky", "--json")) == []


def test_a_second_try_is_told_and_counts_as_flaky(tmp_path: Path) -> None:
    program = tmp_path / "moody"
    been = tmp_path / "been"  # it dies when it is started for the first time
    program.write_text(f"#!/bin/sh\ntest -e {been} || {{ touch {been}; exit 1; }}\n")
    program.chmod(0o755)
    asked = ("run", "--guest", "native", "--limit", "none", "--subject", str(program))
    out = foothold(*asked, "--retries", "2", "--run-dir", str(tmp_path / "run"))
    assert "again  native/none/moody" in out
    assert "FLAKY  native/none/moody: passed at try 2" in out
    assert "1 cell: 1 passed, 1 of them flaky" in out
    kept = tmp_path / "run/cells/native/none/moody"
    first, second = (
        json.loads((kept / f"{place}ending.json").read_text()) for place in ("", "try-2/")
    )
    assert (first["status"], second["status"]) == (1, 0)
    assert {each.name for each in (tmp_path / "run/guests").iterdir()} == {"native", "native+1"}
    [flaky] = json.loads(foothold("flaky", "--json"))
    assert (flaky["cell"], flaky["retries"]) == ("native/none/moody", 1)

    been.unlink()
    foothold(*asked, "--run-dir", str(tmp_path / "again"), code=1)
    text = foothold("compare", code=1)
    assert "native/none/moody: pass (starts) → fail" in text
    [flaky] = json.loads(foothold("flaky", "--json"))
    assert sorted(flaky["outcomes"].values()) == [1, 1], "another run of it failed, for no reason"


class Moody(Native):
    """The real guest, which does not come up when it is booted for the first time."""

    boots = 0

    def boot(self, deadline: Deadline) -> Facts:
        Moody.boots += 1
        if Moody.boots == 1:
            raise GuestError("the agent does not answer")
        return super().boot(deadline)


def test_a_guest_that_did_not_come_up_is_booted_again_for_all_its_cells(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = replace(catalogue(builder)["native"], make=lambda place: Moody("native", place))
    monkeypatch.setattr(run, "catalogue", lambda *_: {"native": kind})
    cells = [Cell(guest="native", limits=Limits(), policy=policy) for policy in ("before", "after")]
    happened = happen(cells, builder, tmp_path, retries=1)
    assert happened.summary.counts == {"pass": 2}
    assert Moody.boots == 2, "one boot for both"
    for verdict in happened.verdicts.values():
        assert [each.reason for each in verdict.attempts] == ["the agent does not answer"]
    told = [type(each).__name__ for each in happened.events]
    assert told.count("GuestFailed") == 1
    assert told.count("CellRetried") == told.count("CellFinished") == 2
    with Database(MEMORY) as database:
        kept = reader.find(database, str(tmp_path))
    assert [boot.failure for boot in kept.boots] == ["the agent does not answer", ""]
    assert {cell.boot for cell in kept.cells} == {kept.boots[1].id}
