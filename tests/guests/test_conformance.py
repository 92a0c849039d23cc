"""Probes of kernels: the known differences come out, and one probe answers a bisection."""

from __future__ import annotations

import json
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
from foothold_lab.images.kernel_build import SUITES
from tests.guests.conftest import check_all_pass, run_plan

SINCE_6_12 = {"uml-6.12", "uml-7.2", "uml-7.2-ptrace"}
SINCE_5_10 = {"uml-5.10", "uml-6.1", *SINCE_6_12}
# the first members of the table, found before the probes were written
FIRST_KNOWN = {
    "memory/io-uring-over-fork": SINCE_6_12,
    "signal/direction-flag": SINCE_5_10,
    "mmap/scattered-pages": SINCE_5_10,
    "signal/at-minsigstksz": SINCE_5_10,
    "signal/autodisarm-return": SINCE_5_10,
    "mmap/madvise-dontfork": {"uml-5.10", "uml-6.1"},
    "mmap/hidden-pages": {"uml-6.1", "uml-7.2", "uml-7.2-ptrace"},
    "mmap/execute-data": SINCE_5_10,
    "trap/int80": SINCE_5_10,
    "trap/flag": SINCE_5_10,
    "trap/watchpoint": SINCE_5_10,
    "signal/fault-divide": SINCE_5_10,
    "time/system-time": SINCE_5_10,
}
# likewise, of processors with AVX-512
FIRST_KNOWN_AVX512 = {
    "registers/avx512-high-over-signal": {"uml-6.1", "uml-6.12"},
    "registers/masks-over-signal": {"uml-6.1", "uml-6.12"},
    "signal/alternate-stack-2k": {"uml-7.2", "uml-7.2-ptrace"},
}


@pytest.mark.uml
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


@pytest.mark.uml
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


@pytest.mark.uml
def test_a_fault_of_the_kernel_is_of_the_probe_that_ran(builder: Builder, tmp_path: Path) -> None:
    """`Bad page map`: the kernel goes on and is tainted, the probe hangs, or the kernel panics."""
    kernel, probe = builder.image("uml-trixie") / "linux", "memory/io-uring-over-fork"
    options = ["--uml", str(kernel), "--probe", probe, "--run-dir", str(tmp_path / "run"), "-q"]
    assert main(["run", "conformance", *options]) == FINDING
    [file] = (tmp_path / "run").glob("cells/uml-own/none/*/verdict.json")
    texts = [each["text"] for each in json.loads(file.read_text())["findings"]]
    assert any(probe in text for text in texts), texts


def has_avx512() -> bool:
    return "avx512bw" in Path("/proc/cpuinfo").read_text().split()


@pytest.mark.weekly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("release", SUITES)
def test_a_kernel_from_source_differs_only_as_is_known(
    builder: Builder, tmp_path: Path, release: str
) -> None:
    kernel = builder.image(f"uml-{release}-source") / "linux"
    words = [f"--subject=conformance-{group}" for group in GROUPS]
    options = ["--uml", str(kernel), *words, "--run-dir", str(tmp_path / "run"), "-q"]
    assert main(["run", "conformance", *options]) == OK


@pytest.mark.weekly
@pytest.mark.timeout(1200)
def test_all_kernels_differ_only_as_is_known(builder: Builder, tmp_path: Path) -> None:
    check_all_pass(run_plan("conformance", builder, tmp_path / "run", Selection()))
    found = read_run(tmp_path / "run")
    booted = set(found.kernels)
    wanted = FIRST_KNOWN | (FIRST_KNOWN_AVX512 if has_avx512() else {})
    for probe, guests in wanted.items():
        assert guests & booted <= set(found.differing.get(probe, ())), probe
    assert not any("native" in differing for differing in found.differing.values())
