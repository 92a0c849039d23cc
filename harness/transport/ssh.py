"""Programs and files over SSH. With a guest it uses a socket that we made: no network, no port, and
the host key of the guest is known before.

The server may be hostile: it may not answer, not read, and not end. All errors of a connection are
OSError.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import shlex
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport.keys import Keys

PARTING = 10.0  # seconds for a program's exit status to come; it is there within 0.01 s
STALL = 60.0  # seconds for which a server may read nothing that is sent, or send nothing of a file
MOST_PULLED = 4 << 30  # bytes of a file that is copied out of a guest
_BLOCK = 1 << 18

# paramiko reports a guest's death on its own logger: we say it ourselves, with the console's tail
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


def _as_paramiko(key: Ed25519PrivateKey) -> paramiko.Ed25519Key:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()
    return paramiko.Ed25519Key.from_private_key(io.StringIO(text))


class Ssh:
    """A connection to an SSH server that has let us in."""

    def __init__(self, transport: paramiko.Transport, line: BoundedLine) -> None:
        self._transport = transport
        self._line = line

    @property
    def silence(self) -> float:
        """Seconds since the server has sent anything."""
        return time.monotonic() - self._line.heard

    def open_line(self, host: str, port: int, deadline: Deadline) -> paramiko.Channel:
        """Open a TCP connection from the server to another machine. Raises SSHException."""
        seconds = deadline.remaining
        return self._transport.open_channel("direct-tcpip", (host, port), ("", 0), timeout=seconds)

    def open(self, argv: Sequence[str], deadline: Deadline) -> SshStream:
        """Start a program. SSH carries a command line, so argv is quoted for the guest's shell."""
        return self.execute("exec " + shlex.join(argv), deadline)

    def execute(self, command: str, deadline: Deadline) -> SshStream:
        """Start what the shell of the user makes of a command line. Raises OSError."""
        with _connection_errors("the SSH connection is gone"):
            channel = self._transport.open_session(timeout=deadline.socket_timeout)
            # this wait has no timeout of its own
            late = threading.Timer(deadline.remaining, _close, [channel])
            late.daemon = True
            late.start()
            try:
                channel.exec_command(command)
            finally:
                late.cancel()
        return SshStream(channel)

    def push(self, source: Path, target: str) -> None:
        """Copy a file, or a directory with all below it, into the guest by SFTP."""
        with self._sftp() as sftp:
            if source.is_dir():
                for parent in reversed(PurePosixPath(target).parents):
                    _make_directory(sftp, str(parent))
                _push_tree(sftp, source, target)
            else:
                sftp.put(str(source), target)

    def pull(self, source: str, target: Path) -> None:
        """Copy a file out of the guest by SFTP; `target` is ours to choose, never the guest's.

        Raises OSError for more than MOST_PULLED bytes.
        """
        with self._sftp() as sftp, sftp.open(source, "rb") as file, target.open("wb") as copy:
            size = file.stat().st_size or 0
            if size <= MOST_PULLED:
                file.prefetch(size, 8)
            left = MOST_PULLED
            while data := file.read(_BLOCK):
                left -= len(data)
                if left < 0:
                    raise OSError(errno.EFBIG, f"more than {MOST_PULLED >> 30} GiB", source)
                copy.write(data)

    @contextlib.contextmanager
    def _sftp(self) -> Iterator[paramiko.SFTPClient]:
        with _connection_errors("the guest's SFTP has failed"):
            client = paramiko.SFTPClient.from_transport(self._transport)
            channel = client.get_channel() if client else None
            if client is None or channel is None:
                raise OSError("the guest offers no SFTP")
            channel.settimeout(STALL)
            try:
                yield client
            finally:
                _part_from(channel)

    @property
    def connected(self) -> bool:
        """Whether the connection exists still."""
        return bool(self._transport.is_active())

    def wait_closed(self, seconds: float) -> bool:
        """Wait at most so long for the end of the connection. Returns whether it has ended."""
        self._transport.join(seconds)
        return not self.connected

    def close(self) -> None:
        """Drop the connection."""
        self._transport.close()


def log_in_to_guest(line: socket.socket, keys: Keys, deadline: Deadline) -> Ssh:
    """Log in to a guest that has said hello. Raises GuestError."""
    bounded = BoundedLine(line)
    transport = paramiko.Transport(bounded)  # type: ignore[arg-type]
    # what we never use would only make the key exchange longer
    options = transport.get_security_options()
    options.kex = [k for k in options.kex if k.startswith("curve25519")] or options.kex
    options.key_types = ["ssh-ed25519"]
    try:
        if not negotiate(transport, deadline):
            raise _no_key_exchange(deadline)
        shown = transport.get_remote_server_key()
        if shown.asbytes() != _as_paramiko(keys.host).asbytes():
            raise GuestError(
                "the guest shows a host key that is not its own",
                "something else answers on its line: do not trust it",
                code=Code.GUEST_LOGIN,
            )
        transport.auth_publickey("root", _as_paramiko(keys.client))
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        what = f"the guest does not let us in: {error}"
        raise GuestError(what, code=Code.GUEST_LOGIN) from error
    except GuestError:
        transport.close()
        raise
    return Ssh(transport, bounded)


def _no_key_exchange(deadline: Deadline) -> GuestError:
    if deadline.expired:
        what = "the guest did not answer over SSH in time"
        remedy = "the machine may be too busy: run fewer guests at once, as with --jobs 1"
    else:
        what, remedy = "the guest does not speak SSH", "is dropbear in its root?"
    return GuestError(what, remedy, code=Code.GUEST_LOGIN)


def negotiate(transport: paramiko.Transport, deadline: Deadline) -> bool:
    """Exchange keys with a server, with no step after the deadline. Returns whether it did."""
    transport.banner_timeout = deadline.remaining
    transport.handshake_timeout = deadline.remaining
    transport.auth_timeout = deadline.remaining
    done = threading.Event()
    transport.start_client(event=done)
    done.wait(deadline.remaining)
    return done.is_set() and transport.is_active()


class SshStream:
    """A program in a guest, over one SSH channel."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._parted = False
        self._ahead = b""
        self.ended = False  # whether the program had exited when the stream was closed

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it."""
        self._channel.settimeout(deadline.socket_timeout)
        with _connection_errors("the SSH connection is gone"):
            self._channel.sendall(data)

    def receive(self, deadline: Deadline) -> bytes:
        """Return some bytes, none at the end."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        self._channel.settimeout(deadline.socket_timeout)
        with _connection_errors("the SSH connection is gone"):
            return self._channel.recv(65536)

    @property
    def clean(self) -> bool:
        """Whether the program has exited with status 0. After `close`."""
        return self.ended and self._channel.exit_status == 0

    def put_back(self, data: bytes) -> None:
        """Let the next `receive` return these bytes."""
        self._ahead = data + self._ahead

    def complaint(self) -> str:
        """Return what the program said on stderr."""
        self._channel.settimeout(1)
        try:
            return self._channel.recv_stderr(4096).decode(errors="replace").strip()
        except OSError:
            return ""

    def close(self, seconds: float = PARTING) -> None:
        """End it: the agent sees the end of its stdin, kills what still runs, and exits.

        Waits at most so long for its exit.
        """
        if not self._parted:
            self._parted = True
            # the server closes the channel of a program that has exited
            self.ended = self._channel.closed or _part_from(self._channel, seconds)


class BoundedLine:
    """The line to a server, as paramiko uses a socket. A send to a server that reads nothing fails
    after STALL seconds: paramiko would wait for ever.
    """

    def __init__(self, line: socket.socket | paramiko.Channel) -> None:
        self._line = line
        self._stalled_since: float | None = None
        self.heard = time.monotonic()  # when something was received last

    def __getattr__(self, name: str) -> object:
        return getattr(self._line, name)

    def recv(self, size: int) -> bytes:
        """Receive some bytes, none at the end. Raises TimeoutError."""
        data = self._line.recv(size)
        self.heard = time.monotonic()
        return data

    def send(self, data: bytes) -> int:
        """Send a part of the data. Raises TimeoutError, which paramiko answers by another send."""
        try:
            sent = self._line.send(data)
        except (TimeoutError, BlockingIOError):
            now = time.monotonic()
            self._stalled_since = self._stalled_since or now
            if now - self._stalled_since > STALL:
                raise ConnectionAbortedError(
                    errno.ECONNABORTED, "the server reads nothing"
                ) from None
            raise
        self._stalled_since = None
        return sent


@contextlib.contextmanager
def _connection_errors(what: str) -> Iterator[None]:
    """Raise OSError for the errors of paramiko; TimeoutError stays what it is."""
    try:
        yield
    except TimeoutError:
        raise
    except (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError) as error:
        raise OSError(f"{what}: {error}") from error


def _push_tree(sftp: paramiko.SFTPClient, source: Path, target: str) -> None:
    _make_directory(sftp, target)
    for entry in os.scandir(source):
        below = f"{target}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            _push_tree(sftp, Path(entry.path), below)
            continue
        with contextlib.suppress(FileNotFoundError):  # a program that runs cannot be overwritten
            sftp.remove(below)
        if entry.is_symlink():
            sftp.symlink(str(Path(entry.path).readlink()), below)
        else:
            sftp.put(entry.path, below, confirm=False)
            sftp.chmod(below, entry.stat().st_mode & 0o7777)
    sftp.chmod(target, source.stat().st_mode & 0o7777)


def _make_directory(sftp: paramiko.SFTPClient, path: str) -> None:
    try:
        sftp.stat(path)
    except FileNotFoundError:
        sftp.mkdir(path)


def _close(channel: paramiko.Channel) -> None:
    """Close a channel, also if its connection is gone: then paramiko raises EOFError."""
    with contextlib.suppress(OSError, paramiko.SSHException, EOFError):
        channel.close()


def _part_from(channel: paramiko.Channel, seconds: float = PARTING) -> bool:
    """End a program's stdin, wait until it has exited, and close. Returns whether it has exited.

    dropbear 2022.83 may refuse the next channel if this one is closed before its exit status has
    come (measured), so that is waited for.
    """
    try:
        if channel.get_transport().is_active():
            channel.shutdown_write()
            return bool(channel.status_event.wait(seconds))
    except (OSError, paramiko.SSHException, EOFError):
        pass
    finally:
        _close(channel)
    return True  # the connection is gone, and the program with it
