"""Shards that ran for real, merged: the same cells and verdicts as those of one run."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from click.testing import CliRunner

from foothold_lab.harness.cli.main import foothold

PLAN = """\
schema = 1
name = "small"

[axes]
guests = ["native"]
limits = ["none", "rlimit_as=1G"]
subjects = ["true", "false"]

[subject.true]
program = "/bin/true"
expect = "starts"

[subject.false]
program = "/bin/false"
expect = "status:1"
"""


def run(*words: str | Path) -> int:
    return CliRunner().invoke(foothold, [*map(str, words)], standalone_mode=False).return_value


def verdicts(file: Path) -> dict[str, tuple[str, str]]:
    cells = json.loads(file.read_text())["cells"]
    return {
        each["id"]: (each["verdict"]["result"], each["verdict"]["observed"]["outcome"])
        for each in cells
    }


def test_merged_shards_say_what_one_run_says(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    whole = tmp_path / "whole"
    assert run("run", plan, "--run-dir", whole, "--json", tmp_path / "whole.json") == 0
    shards = [tmp_path / f"shard{number}" for number in (1, 2)]
    for number, shard in enumerate(shards, 1):
        assert run("run", plan, "--shard", f"{number}/2", "--run-dir", shard) == 0
    archive = tmp_path / "shard2.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(shards[1], "shard2")
    merged = tmp_path / "merged"
    options = ("--run-dir", merged, "--json", tmp_path / "merged.json")
    assert run("merge", shards[0], archive, *options) == 0
    assert verdicts(tmp_path / "merged.json") == verdicts(tmp_path / "whole.json")
    assert run("compare", whole, merged) == 0
    assert run("show", merged, "native/none/true") == 0
    assert run("repro", merged, "native/none/true") == 0
    assert run("merge", shards[0], "--run-dir", tmp_path / "partial") == 3
