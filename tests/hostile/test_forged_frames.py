"""A subject that writes evidence itself: on the pipes, in the memory of those that watch it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import SubjectError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.transport import supervised
from foothold_lab.harness.transport.stream import PipeStream
from foothold_lab.harness.transport.supervised import supervise
from foothold_lab.images.builder import Builder
from tests.hostile.conftest import Attack, Attackers

VIRTUAL_MACHINES = ("uml-6.1", "uml-7.2", "qemu-x86_64")
GUESTS = ("native", *VIRTUAL_MACHINES, "docker")
NOBODY = 65534


@pytest.mark.parametrize("trace", [True, False], ids=["traced", "untraced"])
@pytest.mark.parametrize("guest", GUESTS)
def test_cannot_reach_the_pipes_and_the_memory_of_its_watchers(
    guest: str, trace: bool, attackers: Attackers
) -> None:
    watchers = "1" if guest == "native" else "10"
    users = ("", "nobody") if guest in VIRTUAL_MACHINES else ("",)
    program = attackers.compile("forge")
    forge = [
        Attack(program, watchers, expect="path:high", trace=trace, user=user, name=f"as-{user}")
        for user in users
    ]
    for verdict in attackers.run(guest, *forge).verdicts.values():
        assert verdict.result is Result.FAIL, str(verdict)
        assert verdict.observed
        assert (verdict.observed.status, verdict.observed.contradictions) == (7, ())
        assert (Path(verdict.artefacts) / "stdout").read_text() == "attacked\n"


@pytest.mark.parametrize("guest", ["native", "uml-6.1", "uml-7.2"])
def test_cannot_reach_the_tracer_that_brings_about_faults(guest: str, attackers: Attackers) -> None:
    forge = Attack(
        attackers.compile("forge"), expect="path:high", limits="occupied=0x20000000-0x20001000"
    )
    [verdict] = attackers.run(guest, forge).verdicts.values()
    assert verdict.observed
    assert (verdict.result, verdict.observed.status) == (Result.FAIL, 7), str(verdict)
    assert (Path(verdict.artefacts) / "stdout").read_text() == "attacked\n"


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can read."""
    directory = Path(tempfile.mkdtemp(prefix="foothold-hostile-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("options", [(), ("--trace", "strace")], ids=["untraced", "traced"])
def test_cannot_reach_the_agent_and_its_keeper_as_a_normal_user(
    options: tuple[str, ...], attackers: Attackers, builder: Builder, open_directory: Path
) -> None:
    agent = str(shutil.copy2(builder.image("agent") / "agent", open_directory))
    forge = shutil.copy2(attackers.compile("forge"), open_directory)
    strace = builder.image("strace") / "usr/bin/strace"  # the agent does not start it here
    words = [str(strace) if each == "strace" else each for each in options]
    user = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    watchers = "2"  # the agent and its keeper
    command = (*user, agent, "keep", "--", agent, "run", *words, "--", str(forge), watchers)
    stream = PipeStream(command)
    try:
        record = supervise(stream, ["forge"], Deadline.after(60))
    finally:
        stream.close()
    assert (record.ending.status, record.stdout) == (7, b"attacked\n")


# reads files as root does, because Python may be in root's directory; attacks as an ordinary user
AS_NOBODY = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_cannot_reach_the_harness_as_a_normal_user(
    attackers: Attackers, builder: Builder, open_directory: Path
) -> None:
    """The agent, its keeper and the harness are the three watchers."""
    forge = shutil.copy2(attackers.compile("forge"), open_directory)
    open_directory.chmod(0o777)
    argv = [
        *AS_NOBODY, sys.executable, "-B", "-m", "foothold_lab.harness.cli", "run",
        *("--guest", "native", "--limit", "none", "--subject", str(forge), "--arg=3"),
        *("--expect", "status:7", "--run-dir", str(open_directory / "run")),
    ]  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": str(open_directory),
        "FOOTHOLD_CACHE": str(builder.cache.root),
        "FOOTHOLD_HISTORY": str(open_directory / "history.db"),
    }  # fmt: skip
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [output] = (open_directory / "run/cells").rglob("stdout")
    assert output.read_text() == "attacked\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has these capabilities")
def test_what_root_can_read_of_the_agent_has_no_secret(
    builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CAP_PERFMON and CAP_SYS_ADMIN suffice for these files (Linux 6.16: may_access_mm())."""
    key = bytes(range(1, 33))
    monkeypatch.setattr(supervised, "new_key", lambda: key)
    agent = builder.image("agent") / "agent"
    files = ("/proc/$$/environ", "/proc/$PPID/environ", "/proc/$PPID/auxv", "/proc/$PPID/maps",
             "/proc/$PPID/cmdline")  # fmt: skip
    script = "; echo /; ".join(f"cat {each}" for each in files)
    stream = PipeStream([str(agent), "run", "--", "/bin/sh", "-c", script])
    try:
        record = supervise(stream, ["sh"], Deadline.after(60))
    finally:
        stream.close()
    subject, watcher = record.stdout.split(b"/\n")[:2]
    assert b"agent\0run\0" in record.stdout
    assert key not in record.stdout
    assert set(watcher.split(b"\0")) <= set(subject.split(b"\0")), "the subject inherits it all"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write on the pipe of the agent")
def test_recognises_what_the_agent_did_not_write(builder: Builder) -> None:
    """Root of this machine can write on the pipe of the agent, but cannot make its seals."""
    agent = builder.image("agent") / "agent"
    script = "echo begun; sleep 60"
    stream = PipeStream([str(agent), "run", "--", "/bin/sh", "-c", script])
    started = threading.Event()

    class Heard:
        """The stream, until the subject has begun."""

        send, complaint, close = stream.send, stream.complaint, stream.close

        def receive(self, deadline: Deadline) -> bytes:
            data = stream.receive(deadline)
            if b"begun" in data:
                with Path(f"/proc/{stream.process_id}/fd/1").open("wb", buffering=0) as pipe:
                    pipe.write(b"x\x0c\0\0\0" + bytes(8) + b'{"status":0}')
                started.set()
            return data

    with pytest.raises(SubjectError) as caught:
        supervise(Heard(), ["sh"], Deadline.after(60))
    stream.close()
    assert started.is_set()
    assert caught.value.code is Code.SUBJECT_FORGED
