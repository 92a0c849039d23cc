"""Subjects on the kernel of this machine that attack their supervisor to outlive it.

The attacks signal only processes of the test: the supervisor (PPID) and its keeper.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from foothold_lab.harness.guests import host_process
from foothold_lab.harness.guests.base import Guest, GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import known_guests, make
from foothold_lab.harness.guests.host_cgroup import end_cgroup, make_cgroup
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.images.builder import Builder
from tests.guests.conftest import BootGuest, boot, builder, history, images, place
from tests.guests.processes import with_word

__all__ = ["boot", "builder", "history", "images", "place"]

pytestmark = pytest.mark.guests

GUESTS = {"native": "root", "qemu-user-arm64": "root-arm64"}  # and whose busybox runs in it
DAEMON = (
    "setsid sh -c 'trap : 1 2 3 15; sleep 1000; sleep 1000; : {token}' </dev/null >/dev/null 2>&1 &"
)
KEEPER = "$(cut -d' ' -f4 /proc/$PPID/stat)"
KILL = f"{DAEMON} sleep 0.2; kill -9 $PPID; sleep 1000; : {{token}}"
STOP = f"{DAEMON} sleep 0.2; kill -STOP $PPID; sleep 0.2; echo went on; : {{token}}"
# without a cgroup its last sleep outlives it, and no command line of it has the token: it is short
KILL_BOTH = f"keeper={KEEPER}; {DAEMON} sleep 0.2; kill -9 $keeper $PPID; sleep 2; : {{token}}"
STOP_BOTH = (
    f"keeper={KEEPER}; {DAEMON} sleep 0.2; kill -STOP $keeper $PPID; sleep 1000; : {{token}}"
)


def left(token: str) -> list[int]:
    """Return the processes whose command line has the token."""
    return list(with_word(token))


def left_after(token: str, seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while (found := left(token)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@pytest.fixture
def token() -> Iterator[str]:
    """Marks the processes of a test, which are gone after it, with all of their process groups."""
    name = f"ends-{uuid.uuid4()}"
    yield name
    for group in {os.getpgid(process) for process in left(name)} - {os.getpgrp()}:
        os.killpg(group, signal.SIGKILL)


@pytest.fixture(params=GUESTS)
def guest(request: pytest.FixtureRequest, builder: Builder, place: GuestConfig) -> Guest:
    return make(builder, known_guests(builder)[request.param], place)


def shell(guest: Guest, builder: Builder, script: str) -> list[str]:
    return [str(builder.image(GUESTS[guest.name]) / "bin/busybox"), "sh", "-c", script]


@pytest.fixture(params=["with-cgroup", "without-cgroup"])
def cgroups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cgroups of this machine, or none: a machine with version 1 alone."""
    if request.param == "without-cgroup":
        monkeypatch.setattr(host_process, "make_cgroup", lambda: None)


@pytest.mark.usefixtures("cgroups")
@pytest.mark.parametrize("how", [UNTRACED, Supervision(trace=True)], ids=["untraced", "traced"])
def test_nothing_outlives_a_killed_supervisor(
    how: Supervision, guest: Guest, builder: Builder, boot: BootGuest, token: str
) -> None:
    boot(guest)
    started = time.monotonic()
    with pytest.raises(GuestError, match="the agent was killed under the subject"):
        argv = shell(guest, builder, KILL.format(token=token))
        run_program(guest, argv, Limits(), Deadline.after(60), how=how)
    assert left(token) == []
    assert time.monotonic() - started < 20


@pytest.mark.usefixtures("cgroups")
@pytest.mark.parametrize("how", [UNTRACED, Supervision(trace=True)], ids=["untraced", "traced"])
def test_a_stopped_supervisor_goes_on(
    how: Supervision, guest: Guest, builder: Builder, boot: BootGuest, token: str
) -> None:
    boot(guest)
    started = time.monotonic()
    argv = shell(guest, builder, STOP.format(token=token))
    record = run_program(guest, argv, Limits(), Deadline.after(60), how=how)
    assert (record.ending.status, record.stdout) == (0, b"went on\n")
    assert record.ending.outlived >= 1
    assert left(token) == []
    assert time.monotonic() - started < 20


def test_nothing_outlives_a_stopped_keeper(
    guest: Guest, builder: Builder, boot: BootGuest, token: str
) -> None:
    boot(guest)
    argv = shell(guest, builder, STOP_BOTH.format(token=token))
    with pytest.raises(Exception, match="still running after"):
        run_program(guest, argv, Limits(), Deadline.after(3))
    assert left(token) == []


def test_nothing_outlives_a_killed_keeper(
    guest: Guest, builder: Builder, boot: BootGuest, token: str, cgroup: Path
) -> None:
    boot(guest)
    argv = shell(guest, builder, KILL_BOTH.format(token=token))
    with pytest.raises(GuestError, match="keeper was killed too, and the processes of the subject"):
        run_program(guest, argv, Limits(), Deadline.after(60))
    assert left(token) == []
    assert list(cgroup.parent.glob(f"foothold-{os.getpid()}-*")) == [cgroup]


def test_a_cgroup_is_gone_after_a_program(guest: Guest, builder: Builder, boot: BootGuest) -> None:
    boot(guest)
    script = "cat /proc/self/cgroup"
    record = run_program(guest, shell(guest, builder, script), Limits(), Deadline.after(60))
    [own] = [line for line in record.stdout.decode().splitlines() if line.startswith("0::")]
    if (directory := make_cgroup()) is None:
        assert "foothold-" not in own
        return
    directory.rmdir()
    assert f"/foothold-{os.getpid()}-" in own
    assert not list(directory.parent.glob(f"foothold-{os.getpid()}-*"))


def test_says_that_a_subject_may_outlive_a_killed_keeper(
    guest: Guest, builder: Builder, boot: BootGuest, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_process, "make_cgroup", lambda: None)
    boot(guest)
    argv = shell(guest, builder, KILL_BOTH.format(token=token))
    with pytest.raises(GuestError, match="processes of the subject may still run"):
        run_program(guest, argv, Limits(), Deadline.after(60))


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup as the harness makes it."""
    if (directory := make_cgroup()) is None:
        pytest.skip("this user can make no cgroup of version 2")
    yield directory
    assert end_cgroup(directory)


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A directory that another user can enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextmanager
def kept_by_nobody(
    builder: Builder, directory: Path, script: str, *, start: Sequence[str] = (), keep: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Run a script as an unprivileged user, under a supervisor and a keeper of that user.

    `start` is a program that starts all of it; `keep` has more options of the keeper.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    programs = [directory / "agent", directory / "busybox"]
    shutil.copy(builder.image("agent") / "agent", programs[0])
    shutil.copy(builder.image("root") / "bin/busybox", programs[1])
    for path in (directory, *programs):
        path.chmod(0o755)
    agent, busybox = map(str, programs)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    argv = [*start, *nobody, agent, "keep", "--owner", "0", *keep.split(), "--",
            agent, "run", "--text", "--", busybox, "sh", "-c", script]  # fmt: skip
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("attack", [KILL, STOP], ids=["kill", "stop"])
def test_nothing_outlives_a_supervisor_of_an_unprivileged_user(
    attack: str, builder: Builder, token: str, shared_directory: Path
) -> None:
    with kept_by_nobody(builder, shared_directory, attack.format(token=token)) as process:
        process.wait(20)
        assert process.returncode == (EXIT_KILLED if attack is KILL else 0)
        assert left_after(token, 0) == []


def test_a_keeper_of_an_unprivileged_user_uses_its_cgroup(
    builder: Builder, shared_directory: Path, cgroup: Path
) -> None:
    """As in a session that systemd delegates to a user: the cgroup of the keeper is the user's."""
    if os.geteuid() != 0:
        pytest.skip("only root can delegate a cgroup")
    own = cgroup / "own"
    own.mkdir()
    try:
        for path in (cgroup, cgroup / "cgroup.procs", own, own / "cgroup.procs"):
            os.chown(path, 65534, 65534)
        join = ("sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "join")
        with kept_by_nobody(
            builder,
            shared_directory,
            "cat /proc/self/cgroup",
            start=join,
            keep=f"--own-cgroup {own}",
        ) as process:
            assert process.stdout
            printed = process.stdout.read()  # its standard input stays open: it is the owner
        assert f"{cgroup.name}/own" in printed
        assert not own.exists(), "the keeper removes it"
    finally:
        if own.exists():
            own.rmdir()


EXIT_KILLED = 128 + signal.SIGKILL
