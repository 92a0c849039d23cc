"""Secrets in the environment of a program reach no file of a run, unless the user asks."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.secret_values import (
    MASK,
    is_secret,
    mask_arguments,
    mask_trace,
    unmask_environment,
)

FOOTHOLD = [sys.executable, "-m", "foothold_lab.harness.cli"]
SECRET = "hunter2-of-this-test"
PRIVATE = ("run.json", "events.jsonl", "subjects.json", "verdict.json", "history.db", "facts.json")


@pytest.mark.parametrize(
    ("name", "secret"),
    [("GITHUB_TOKEN", True), ("DB_PASSWORD", True), ("api_key", True), ("AWS_SECRET", True),
     ("HTTP_AUTH", True), ("PATH", False), ("LANG", False), ("GODEBUG", False)],
)  # fmt: skip
def test_a_name_tells_a_secret(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


def test_only_values_of_secrets_are_masked() -> None:
    words = ("run", "--env", "A_TOKEN=x", "--env=B_KEY=y=z", "--env", "C=d", "--arg", "A_TOKEN=x")
    masked = (
        "run",
        "--env",
        "A_TOKEN=***",
        "--env=B_KEY=***",
        "--env",
        "C=d",
        "--arg",
        "A_TOKEN=x",
    )
    assert tuple(mask_arguments(words)) == masked


def test_a_trace_shows_no_secret_of_the_agent() -> None:
    start = (
        rb'7 execve("/a", ["/a", "exec", "--env", "A_TOKEN=x\"y\n"..., "--env", "B=c"], 0x1) = 0'
    )
    masked = b'7 execve("/a", ["/a", "exec", "--env", "A_TOKEN=***", "--env", "B=c"], 0x1) = 0'
    assert mask_trace(start + b"\n7 brk(NULL)\n") == masked + b"\n7 brk(NULL)\n"
    assert mask_trace(b"") == b""


def test_a_missing_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_TOKEN", raising=False)
    with pytest.raises(UsageError, match="the value of A_TOKEN was not recorded") as caught:
        unmask_environment({"A_TOKEN": MASK, "B": "c"})
    assert "set A_TOKEN in the environment" in caught.value.remedy
    monkeypatch.setenv("A_TOKEN", "x")
    assert unmask_environment({"A_TOKEN": MASK, "B": MASK}) == {"A_TOKEN": "x", "B": MASK}


def run(
    folder: Path, *words: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    own = {"FOOTHOLD_HISTORY": str(folder / "history.db"), "GITHUB_ACTIONS": ""}
    return subprocess.run(
        [*FOOTHOLD, *words], capture_output=True, text=True, timeout=120, cwd=folder, check=False,
        env={**os.environ, **own, **(environment or {})},
    )  # fmt: skip


def holders(folder: Path) -> set[str]:
    """The files that hold the secret."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    }


@pytest.mark.guests
def test_no_file_of_a_run_holds_a_secret(tmp_path: Path) -> None:
    script = '[ "$A_TOKEN" = hunter2-of-this-test ] || exit 3; exit 7'
    arguments = (
        "run", "--guest", "native", "--limit", "none", "--subject", "/bin/sh", "--arg=-c",
        f"--arg={script.replace(SECRET, '$B')}", "--env", f"A_TOKEN={SECRET}", f"--env=B={SECRET[:7]}",
        "--expect", "status:7", "--run-dir", "run", "--json", "out.json", "--junit", "out.xml",
        "--html", "out.html",
    )  # fmt: skip
    done = run(tmp_path, *arguments)
    assert SECRET not in done.stdout + done.stderr
    assert holders(tmp_path) == set()
    files = [path for path in tmp_path.rglob("*") if path.name in PRIVATE]
    assert {path.name for path in files} == set(PRIVATE)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.guests
def test_a_masked_cell_is_repeated_with_the_value_of_the_environment(tmp_path: Path) -> None:
    script = f'[ "$A_TOKEN" = {SECRET[:7]}-of-this"-test" ] && exit 7'
    arguments = (
        "run", "--guest", "native", "--limit", "none", "--subject", "/bin/sh", "--arg=-c",
        f"--arg={script}", "--env", f"A_TOKEN={SECRET}", "--expect", "starts", "--run-dir",
    )  # fmt: skip
    done = run(tmp_path, *arguments, "run")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "status 7" in done.stdout
    [again] = [line for line in done.stdout.splitlines() if line.startswith("  again:")]
    assert "A_TOKEN=***" in again
    words = shlex.split(again.partition(":")[2])[1:]
    known = {"A_TOKEN": SECRET}
    for command in (words, ("repro", "run", "native/none/sh")):
        refused = run(tmp_path, *command)
        assert refused.returncode == 2
        assert "the value of A_TOKEN was not recorded" in refused.stderr
    assert "status 7" in run(tmp_path, *words, environment=known).stdout
    assert run(tmp_path, "repro", "run", "native/none/sh", environment=known).returncode == 0
    packed = run(tmp_path, "repro", "run", "native/none/sh", "--bundle", "b.tar", environment=known)
    assert packed.returncode == 3
    assert "--keep-secrets" in packed.stderr
    assert holders(tmp_path) == set()
    kept = run(tmp_path, *arguments, "kept", "--keep-secrets")
    assert kept.returncode == 1
    assert "kept/run.json" in holders(tmp_path)
    assert run(tmp_path, "repro", "kept", "native/none/sh").returncode == 0
