"""An SSH server in a guest that is hostile: it does not answer, read, or end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest
from paramiko.sftp_attr import SFTPAttributes

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport import ssh
from foothold_lab.harness.transport.keys import Keys
from foothold_lab.harness.transport.ssh import Ssh, log_in_to_guest


class Server(paramiko.ServerInterface):
    """Lets everybody in. It answers a request for a program only if it is friendly."""

    def __init__(self, *, friendly: bool) -> None:
        self._friendly = friendly
        self.end = threading.Event()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if not self._friendly:
            self.end.wait(60)
        return True


class EndlessFiles(paramiko.SFTPServerInterface):
    """Every file has `claimed` bytes, and never ends."""

    claimed = 1 << 62

    def open(self, path: str, flags: int, attr: SFTPAttributes) -> paramiko.SFTPHandle | int:
        return EndlessFile()

    def stat(self, path: str) -> SFTPAttributes | int:
        found = SFTPAttributes()
        found.st_size = self.claimed
        return found


class EndlessFile(paramiko.SFTPHandle):
    def stat(self) -> SFTPAttributes | int:
        found = SFTPAttributes()
        found.st_size = EndlessFiles.claimed
        return found

    def read(self, offset: int, length: int) -> bytes | int:
        return bytes(length)


@contextmanager
def connected(server: Server) -> Iterator[tuple[Ssh, paramiko.Transport, socket.socket]]:
    ours, theirs = socket.socketpair()
    keys = Keys()
    transport = paramiko.Transport(theirs)
    transport.add_server_key(ssh._as_paramiko(keys.host))
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, EndlessFiles)
    transport.start_server(event=threading.Event(), server=server)
    one = log_in_to_guest(ours, keys, Deadline.after(20))
    try:
        yield one, transport, theirs
    finally:
        server.end.set()
        one.close()
        transport.close()


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (b"", "run fewer guests at once, as with --jobs 1"),
        (b"HTTP/1.0\r\n", "is dropbear in its root?"),
    ],
)
def test_a_guest_that_does_not_answer_may_have_been_too_slow(said: bytes, remedy: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if said:
            theirs.sendall(said)
            theirs.shutdown(socket.SHUT_WR)
        seconds = 30 if said else 0.2
        with pytest.raises(GuestError) as caught:
            log_in_to_guest(ours, Keys(), Deadline.after(seconds))
    assert caught.value.code is Code.GUEST_LOGIN
    assert remedy in caught.value.remedy


def test_a_program_that_is_never_started_ends_at_the_deadline() -> None:
    with connected(Server(friendly=False)) as (one, _, _):
        started = time.monotonic()
        with pytest.raises(OSError, match="the SSH connection is gone"):
            one.open(["/bin/true"], Deadline.after(0.2))
        assert time.monotonic() - started < 5


def test_a_program_ends_after_its_connection_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise EOFError  # as paramiko does

    with connected(Server(friendly=True)) as (one, transport, _):
        stream = one.open(["/bin/true"], Deadline.after(20))
        transport.close()
        monkeypatch.setattr(stream._channel, "close", gone)
        stream.close(0.1)
        assert stream.ended


def test_a_guest_that_reads_nothing_ends_a_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "STALL", 0.3)
    with connected(Server(friendly=True)) as (one, transport, _):
        stream = one.open(["/bin/cat"], Deadline.after(20))
        stream._channel.out_window_size = 1 << 30  # as much as the server may say
        stopped = threading.Event()
        monkeypatch.setattr(transport.packetizer, "read_message", lambda: stopped.wait(60))
        with pytest.raises(OSError, match="the SSH connection is gone"):
            stream.send(bytes(64 << 20), Deadline.after(20))
        stopped.set()


@pytest.mark.parametrize("claimed", [1 << 62, 0, 1000])
def test_a_file_without_an_end_is_not_copied(
    claimed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "MOST_PULLED", 1 << 20)
    monkeypatch.setattr(EndlessFiles, "claimed", claimed)
    with connected(Server(friendly=True)) as (one, _, _):
        with pytest.raises(OSError, match="GiB"):
            one.pull("/endless", tmp_path / "file")
        assert (tmp_path / "file").stat().st_size <= 1 << 20
