"""The owner of a directory on a machine that is reached by SSH, and commands that run there."""

from __future__ import annotations

import os
import secrets
import select
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from foothold_lab.harness.transport.frames import KEY_SIZE, FrameKind, Frames, frame
from tests.agent.compiler import AGENT_ENVIRONMENT

pytestmark = pytest.mark.agent

KEY = bytes(range(KEY_SIZE))
TOKEN = "token"
MOST_SECONDS = 20.0


class Session:
    """A directory with the agent, and the agents that run there."""

    def __init__(self, agent: str, parent: Path) -> None:
        self.path = parent / f"foothold-{secrets.token_hex(8)}"
        self.path.mkdir(mode=0o700)
        self.agent = str(shutil.copy2(agent, self.path / "agent"))
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, role: str, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [self.agent, role, TOKEN, *words], env=AGENT_ENVIRONMENT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        assert process.stdout
        assert _read(process.stdout, len(b"\nready token\n")) == b"\nready token\n"
        return process

    def own(self, seconds: int = 60) -> Owner:
        return Owner(self.start("session", str(seconds)))

    def run(self, *argv: str, work: str = "", files: str = "") -> subprocess.Popen[bytes]:
        process = self.start("request")
        options = ("--chdir", work) if work else ()
        words = (work, files, "run", *options, "--", *argv)
        _send(process, request(*words), frame(FrameKind.KEY, KEY))
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()


class Owner:
    """`agent session`, and what it answers."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._frames = Frames(KEY)
        _send(process, frame(FrameKind.KEY, KEY))

    def place(self, mode: int, path: str, content: bytes = b"", target: str = "") -> None:
        _send(self.process, frame(FrameKind.ENTRY, f"{mode:o} {path}\0{target}".encode()))
        if content:
            _send(self.process, frame(FrameKind.CONTENT, content))

    def sync(self) -> str:
        _send(self.process, frame(FrameKind.SYNC))
        assert self.process.stdout
        while True:
            for kind, payload in self._frames.take(_read(self.process.stdout, 1)):
                assert kind is FrameKind.SYNC
                return payload.decode()

    def close(self) -> tuple[int, bytes]:
        """End it; return its status and what it complained about."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> tuple[int, bytes]:
        assert self.process.stderr
        return self.process.wait(MOST_SECONDS), self.process.stderr.read()


def request(*words: str) -> bytes:
    return frame(FrameKind.REQUEST, b"".join(word.encode() + b"\0" for word in words))


def _send(process: subprocess.Popen[bytes], *frames: bytes) -> None:
    assert process.stdin
    process.stdin.write(b"".join(frames))
    process.stdin.flush()


def _read(stream: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        ready, _, _ = select.select([stream], [], [], MOST_SECONDS)
        assert ready, f"nothing more within {MOST_SECONDS} s after {data!r}"
        more = os.read(stream.fileno(), size - len(data))
        assert more, f"the end after {data!r}"
        data += more
    return data


def _wait_for(condition: Path) -> None:
    until = time.monotonic() + MOST_SECONDS
    while not condition.exists():
        assert time.monotonic() < until, f"{condition} did not appear"
        time.sleep(0.01)


@pytest.fixture
def session(agent: str, tmp_path: Path) -> Iterator[Session]:
    made = Session(agent, tmp_path)
    yield made
    made.end()


def test_makes_files_and_removes_its_directory(session: Session) -> None:
    owner = session.own()
    owner.place(stat.S_IFDIR | 0o755, "share")
    owner.place(stat.S_IFREG | 0o755, "share/program", b"x" * 60_000)
    owner.place(stat.S_IFLNK | 0o777, "share/link", target="program")
    assert owner.sync() == ""
    program = session.path / "share/link"
    assert program.read_bytes() == b"x" * 60_000
    assert program.stat().st_mode & 0o777 == 0o755
    owner.place(stat.S_IFREG | 0o600, "share/program", b"new")
    assert owner.sync() == ""
    assert program.read_bytes() == b"new"
    assert owner.close() == (0, b"")
    assert not session.path.exists()


def test_says_which_file_cannot_be_made(session: Session) -> None:
    owner = session.own()
    for path in ("../outside", "/outside", "share/../../outside", "absent/file", ""):
        owner.place(stat.S_IFREG | 0o600, path, b"x")
        assert owner.sync(), path
    assert owner.sync() == ""  # each is said once
    assert sorted(each.name for each in session.path.parent.iterdir()) == [session.path.name]


def test_ends_when_the_harness_is_silent(session: Session) -> None:
    started = time.monotonic()
    owner = session.own(seconds=1)
    assert owner.wait() == (0, b"")
    assert 0.9 < time.monotonic() - started < MOST_SECONDS
    assert not session.path.exists()


def test_refuses_a_directory_that_others_can_enter(session: Session) -> None:
    session.path.chmod(0o755)
    done = subprocess.run(
        [session.agent, "session", TOKEN, "5"], env=AGENT_ENVIRONMENT, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 120
    assert b"others than this user may use" in done.stderr
    assert session.path.exists()


def test_runs_a_command_in_a_fresh_directory(session: Session) -> None:
    owner = session.own()
    owner.place(stat.S_IFDIR | 0o700, "given")
    owner.place(stat.S_IFREG | 0o600, "given/input", b"read me")
    assert owner.sync() == ""
    process = session.run(
        "/bin/sh", "-c", "pwd; cat input; echo > new", work="work-1", files="given"
    )
    assert process.stdout
    frames = list(Frames(KEY).take(process.stdout.read()))
    output = b"".join(payload for kind, payload in frames if kind is FrameKind.STDOUT)
    assert output == f"{session.path}/work-1\nread me".encode()
    assert frames[-1][0] is FrameKind.ENDED
    assert process.wait(MOST_SECONDS) == 0
    assert not (session.path / "work-1").exists()
    assert (session.path / "given/input").exists()
    assert owner.close() == (0, b"")


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_a_command_ends_with_its_session(session: Session, how: str) -> None:
    owner = session.own()
    script = f"trap '' TERM HUP; echo $$ > {session.path.parent}/pid; while :; do sleep 0.1; done"
    process = session.run("/bin/sh", "-c", script, work="work-1")
    _wait_for(session.path.parent / "pid")
    spare = session.start("request")  # it waits for its command
    if how == "closed":
        assert owner.close() == (0, b"")
        assert not session.path.exists()
    else:
        owner.process.kill()
    process.wait(MOST_SECONDS)
    spare.wait(MOST_SECONDS)
    pid = int((session.path.parent / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    if how == "killed":  # the next owner removes what was left
        again = session.own()
        assert again.close() == (0, b"")
        assert not session.path.exists()


def test_a_command_ends_with_its_standard_input(session: Session) -> None:
    owner = session.own()
    process = session.run("/bin/sleep", "1000")
    assert process.stdin
    process.stdin.close()
    assert process.wait(MOST_SECONDS) == 120
    assert owner.close() == (0, b"")


def test_a_command_without_a_session_is_refused(session: Session) -> None:
    process = session.start("request")
    assert process.wait(MOST_SECONDS) == 120
    assert process.stderr
    assert b"cannot join the session" in process.stderr.read()


def test_removes_what_a_program_has_left_and_nothing_else(session: Session) -> None:
    victim = session.path.parent / "victim"
    (victim / "kept").mkdir(parents=True)
    owner = session.own()
    (session.path / "link").symlink_to(victim)
    (session.path / "moved-0").mkdir()
    (session.path / "moved-0/file").touch()
    deep = os.open(session.path, os.O_RDONLY)
    for _ in range(3000):  # deeper than a path and than the limit of descriptors
        os.mkdir("d", 0o700, dir_fd=deep)
        os.symlink(victim, "beside", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    closed = session.path / "closed"
    (closed / "below").mkdir(parents=True)
    (closed / "below/file").touch()
    (closed / "below").chmod(0)
    closed.chmod(0)
    assert owner.close() == (0, b"")
    assert not session.path.exists()
    assert (victim / "kept").is_dir()
