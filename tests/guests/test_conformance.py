"""Probes of kernels: the known differences come out, and one probe answers a bisection."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.cli.bisect import SKIP
from foothold_lab.harness.cli.context import FINDING, OK
from foothold_lab.harness.cli.main import main
from foothold_lab.harness.conformance import known_differences
from foothold_lab.harness.conformance.markdown import page
from foothold_lab.harness.conformance.run_reader import read_run
from foothold_lab.harness.plan import Axes, Selection
from foothold_lab.harness.subjects.probes import GROUPS
from foothold_lab.images.builder import Builder
from tests.guests.conftest import check_all_pass, run_plan

# the first members of the table, found before the probes were written
FIRST_KNOWN = {
    "memory/io-uring-over-fork": {"uml-6.12", "uml-7.2", "uml-7.2-ptrace"},
    "signal/direction-flag": {"uml-6.1", "uml-6.12", "uml-7.2", "uml-7.2-ptrace"},
    "mmap/scattered-pages": {"uml-7.2", "uml-7.2-ptrace"},
    "signal/at-minsigstksz": {"uml-6.1", "uml-6.12", "uml-7.2", "uml-7.2-ptrace"},
    "mmap/madvise-dontfork": {"uml-6.1"},
}


def test_a_uml_kernel_differs_only_as_is_known(builder: Builder, tmp_path: Path) -> None:
    groups = tuple(f"conformance-{group}" for group in GROUPS)
    axes = Axes(guests=("uml-7.2",), subjects=groups)
    check_all_pass(run_plan("conformance", builder, tmp_path / "run", Selection(axes=axes)))
    found = read_run(tmp_path / "run")
    assert len(found.answers) >= 300
    flag = found.differing["signal/direction-flag"]["uml-7.2"]
    assert flag.text.endswith(
        "handlers were entered with the direction flag set [conformance/known]"
    )
    assert found.answers["process/futex-pi"]["uml-7.2"].result == "conforms"
    text = page(found, known_differences())
    [row] = [line for line in text.splitlines() if line.startswith("| `signal/direction-flag`")]
    assert "`uml-7.2/none/conformance-signal` | x | A handler is entered with" in row
    assert "futex-pi" in text.partition("## Probes that conform in all guests")[2]


@pytest.mark.parametrize(
    ("probe", "words", "code"),
    [
        ("signal/direction-flag", "", FINDING),
        ("signal/restart", "", OK),
        ("signal/fault-rdtsc", "", SKIP),
        ("signal/restart", "init=/nowhere", SKIP),
    ],
)
def test_a_probe_answers_a_bisection(
    builder: Builder, tmp_path: Path, probe: str, words: str, code: int
) -> None:
    kernel = builder.image("uml-forky") / "linux"
    options = ["--uml", str(kernel), "--append", words, "--probe", probe]
    assert main(["run", "conformance", *options, "--run-dir", str(tmp_path / "run"), "-q"]) == code


@pytest.mark.weekly
@pytest.mark.timeout(1200)
def test_all_kernels_differ_only_as_is_known(builder: Builder, tmp_path: Path) -> None:
    check_all_pass(run_plan("conformance", builder, tmp_path / "run", Selection()))
    found = read_run(tmp_path / "run")
    booted = set(found.kernels)
    for probe, guests in FIRST_KNOWN.items():
        assert guests & booted <= set(found.differing.get(probe, ())), probe
    assert not any("native" in differing for differing in found.differing.values())
