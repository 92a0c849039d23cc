"""The probes of images/conformance on this machine: a probe that fails natively is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from foothold_lab.harness.conformance import read_report
from foothold_lab.harness.subjects.probes import GROUPS
from foothold_lab.images.probes import FLAGS, SOURCES, probe_names

pytestmark = pytest.mark.agent


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        pytest.skip("this machine has no C compiler")
    out = tmp_path_factory.mktemp("conformance") / "conformance"
    subprocess.run(
        [compiler, *FLAGS, "-Wshadow", "-Wstrict-prototypes", "-o", out, *SOURCES.glob("*.c")],
        check=True, timeout=120,
    )  # fmt: skip
    return out


def test_python_knows_all_probes(program: Path) -> None:
    listed = subprocess.run([program, "--list"], capture_output=True, check=True, timeout=10)
    probes = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {each["probe"]: each["alone"] for each in probes} == probe_names()
    assert all(each["demand"].endswith(".") and each["source"] for each in probes)


@pytest.mark.parametrize("group", GROUPS)
def test_this_machine_conforms(program: Path, tmp_path: Path, group: str) -> None:
    done = subprocess.run([program, group], capture_output=True, timeout=60, cwd=tmp_path)
    report = read_report(done.stdout)
    differ = {each.probe: each.measured for each in report.answers if each.result == "differs"}
    assert not differ
    wanted = {name for name, alone in probe_names().items() if name.startswith(f"{group}/")}
    lone = {name for name, alone in probe_names().items() if alone}
    assert {each.probe for each in report.answers} == wanted - lone
    assert (done.returncode, report.unanswered, report.bad_lines) == (0, "", 0)


def test_refuses_an_unknown_probe(program: Path) -> None:
    done = subprocess.run([program, "signal/nothing"], capture_output=True, timeout=10)
    assert (done.returncode, done.stderr) == (2, b"signal/nothing is not a probe\n")
