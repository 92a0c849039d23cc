"""Kernels of the user's own, through the door: --uml, --kernel, and files that are none."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.images.builder import Builder


def foothold(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.uml
def test_a_uml_kernel_of_ones_own(builder: Builder, tmp_path: Path) -> None:
    kernel = builder.image("uml-trixie") / "linux"
    done = foothold(
        "run",
        "--uml",
        kernel,
        "--limit",
        "none",
        "--run-dir",
        tmp_path / "run",
        "--json",
        tmp_path / "out.json",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    cells = json.dumps(result)
    assert "uml-own/none/after" in cells
    assert "low, allocates" in done.stdout
    verdict = json.loads((tmp_path / "run/cells/uml-own/none/after/verdict.json").read_text())
    assert verdict["command"][:4] == ["foothold", "run", "--uml", str(kernel)]


def test_a_kernel_of_ones_own_for_qemu(builder: Builder, tmp_path: Path) -> None:
    kernel = builder.image("cloud-x86_64") / "kernel"
    done = foothold(
        "run",
        "--kernel",
        kernel,
        "--limit",
        "none",
        "--policy",
        "after",
        "--run-dir",
        tmp_path / "run",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("option", ["--uml", "--kernel"])
@pytest.mark.parametrize("kind", ["absent", "text", "elf", "directory", "cut"])
def test_what_is_no_kernel_is_told(
    option: str, kind: str, tmp_path: Path, builder: Builder
) -> None:
    path = tmp_path / "linux"
    if kind == "text":
        path.write_text("not a kernel\n" * 100)
    elif kind == "elf":
        path = Path("/bin/ls").resolve() if option == "--uml" else path
        if option == "--kernel":
            path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xb7\x00" + bytes(100))
    elif kind == "directory":
        path.mkdir()
    elif kind == "cut":
        path.write_bytes(gzip.compress(b"\x7fELF" * 100)[:50])
    done = foothold("run", option, path, "--limit", "none")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "foothold: " in done.stderr
    assert str(path) in done.stderr
    assert "remedy: give " in done.stderr
    assert "Traceback" not in done.stderr
