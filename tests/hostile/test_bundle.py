"""What a subject printed, or was given, reaches no shell: in bundles and in printed commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from foothold_lab.harness.interactive import bundle, standalone_export
from foothold_lab.harness.model.escape import escape_shell
from foothold_lab.harness.reporters.repeat import repeat_command
from tests.hostile.strings import EVIL, HOSTILE, SHELL, hidden
from tests.hostile.targets import describe_bundle, run_directory_of_a_program

FOOTHOLD = [sys.executable, "-m", "foothold_lab.harness.cli"]
WORDS = [word.replace("\0", "") for word in HOSTILE.values()]  # no argument holds NUL

needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")


def bash(script: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, cwd=folder, timeout=20, check=False
    )


@needs_bash
@pytest.mark.parametrize("evil", EVIL)
def test_a_command_line_is_its_words_and_nothing_more(evil: str, tmp_path: Path) -> None:
    words = (evil.replace("\0", ""), "", "it's", "\\ \x01\u202e")
    for line in (
        escape_shell(("printf", r"%s\0", *words)),
        repeat_command(("printf", r"%s\0", *words)),
    ):
        done = bash(line, tmp_path)
        assert done.stdout == b"".join(word.encode() + b"\0" for word in words)
        assert hidden(line) == set()
    assert list(tmp_path.iterdir()) == []


@needs_bash
def test_a_long_command_is_whole(tmp_path: Path) -> None:
    words = ("printf", r"%s\0", *WORDS * 60, "the end")
    line = repeat_command(words)
    assert len(line) > 50_000
    assert bash(line, tmp_path).stdout.endswith(b"\0the end\0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("evil", EVIL)
def test_the_script_of_a_bundle_runs_nothing_of_a_subject(evil: str, tmp_path: Path) -> None:
    directory = run_directory_of_a_program(tmp_path / "run", evil)
    tree = tmp_path / "tree"
    describe_bundle(directory, "native/none/prog", tree)
    script = (tree / "repro").read_text()
    assert evil not in script, "what a subject printed stands in a script"
    ended = r"""printf '\n=== ended {"status":7,"signal":0}\n'"""
    words = standalone_export._shell_words(["printf", "%s", evil.replace("\0", "")], {})
    (tree / "repro").write_text(script.replace("\ttrue\n", f"\t{words}; {ended}\n"))
    done = subprocess.run(
        [tree / "repro"], capture_output=True, cwd=tmp_path, timeout=20, check=False
    )
    assert done.returncode == 7, done.stderr
    assert evil.replace("\0", "").encode() in done.stdout
    assert b"result of the recorded run: starts" in done.stderr
    assert hidden(done.stderr.decode()) == set()
    assert {each.name for each in tmp_path.iterdir()} == {"run", "tree"}
    assert {each.name for each in tree.iterdir()} == {"repro", "README.md", "recorded", "share"}
    readme = (tree / "README.md").read_text()
    assert hidden(readme) == set()


def test_words_of_a_bundle_know_the_variables_of_its_script() -> None:
    here = standalone_export._HERE
    words = standalone_export._shell_words(
        [f"{here}/agent", "/@here@", "$here", "/image/x"], {"/image": f"{here}/root"}
    )
    assert words == '"${here}"/agent /@here@ \'$here\' "${here}"/root/x'
    assert shlex.split(words.replace("${here}", "/h"))[0] == "/h/agent"


def test_the_template_of_the_script_has_no_place_for_a_guest() -> None:
    places = re.findall(r"@([A-Z]+)@", bundle._SCRIPT.read_text())
    assert set(places) == {"TITLE", "MACHINE", "NEEDS", "COMMAND"}


def unpacked(tarball: Path, into: Path) -> Path:
    into.mkdir()
    with tarfile.open(tarball) as archive:
        archive.extractall(into, filter="tar")
    [directory] = into.iterdir()
    return directory


@needs_bash
@pytest.mark.guests
@pytest.mark.parametrize("guest", ["native", "uml-6.1", "qemu-x86_64"])
def test_hostile_words_go_through_run_again_and_bundle(guest: str, tmp_path: Path) -> None:
    """The program prints its arguments, a variable and its own name, all of them hostile."""
    home = tmp_path / "it's $(touch X) `touch X`;touch X"
    home.mkdir()
    program = home / 'p" $(touch X)\x1b[31m\u202e'
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$E" "$@"\nexit 5\n')
    program.chmod(0o755)
    argv = [
        *FOOTHOLD, "run", "--guest", guest, "--limit", "none", "--subject", str(program),
        f"--env=E={SHELL}", *(f"--arg={word}" for word in WORDS), "--expect", "starts",
        "--run-dir", str(tmp_path / "run"), "--history", str(tmp_path / "history.db"),
    ]  # fmt: skip
    environment = {**os.environ, "FOOTHOLD_HISTORY": str(tmp_path / "history.db")}
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd=home, timeout=200, env=environment
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert hidden(done.stdout) == set()
    [again] = [line for line in done.stdout.splitlines() if line.startswith("  again:")]
    command = again.partition(":")[2].strip()
    script = f'foothold() {{ {shlex.join(FOOTHOLD)} "$@"; }}; {command} --no-history'
    repeated = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=home, timeout=200,
        env=environment,
    )  # fmt: skip
    assert repeated.returncode == 1, repeated.stdout + repeated.stderr
    assert again in repeated.stdout.splitlines()
    cell = next((tmp_path / "run/cells").rglob("verdict.json")).parent
    printed = (cell / "stdout").read_bytes()
    assert SHELL.encode() in printed
    tarball = tmp_path / "cell.tar"
    name = str(cell.relative_to(tmp_path / "run/cells"))
    packed = subprocess.run(
        [*FOOTHOLD, "repro", str(tmp_path / "run"), name, "--bundle", str(tarball)],
        capture_output=True, text=True, cwd=home, timeout=200, env=environment,
    )  # fmt: skip
    assert packed.returncode == 0, packed.stderr
    tree = unpacked(tarball, tmp_path / "unpacked")
    alone = subprocess.run(
        [str(tree / "repro")], capture_output=True, cwd=home, timeout=200, env={}, check=False
    )
    assert alone.returncode == 5, alone.stderr.decode(errors="replace")
    for word in (SHELL, *WORDS):
        assert word.encode() in alone.stdout.replace(b"\r\n", b"\n") or "\r" in word, word
    assert not list(tmp_path.rglob("X"))
