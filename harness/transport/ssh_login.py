"""Logs in to a machine of the user by SSH: with the configuration, agent and known hosts of the user.

Nothing is asked and nothing is written: a host key that the user does not know is refused, and so is
one that has changed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import paramiko

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import InfrastructureError
from foothold_lab.harness.model.escape import escape_shell
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.ssh_address import SshAddress
from foothold_lab.harness.transport.known_hosts import KnownKeys, read_known_keys
from foothold_lab.harness.transport.ssh import BoundedLine, Ssh, negotiate
from foothold_lab.harness.transport.ssh_settings import SshSettings, settings_for

MOST_JUMPS = 8
MOST_COMPLAINT = 500  # bytes of what a proxy command prints that are shown
_FAILURES = (paramiko.SSHException, EOFError, OSError)
_RSA = ("rsa-sha2-512", "rsa-sha2-256")  # the signatures that a key of the type ssh-rsa makes


def connection_error(what: str, remedy: str = "") -> InfrastructureError:
    """Return the error for a connection that cannot be made, or broke."""
    return InfrastructureError(what, remedy, code=Code.INFRASTRUCTURE_CONNECTION)


@contextlib.contextmanager
def log_in(address: SshAddress, deadline: Deadline, home: Path | None = None) -> Iterator[Ssh]:
    """Log in to a machine, and log out at the end of the context.

    `home` is the directory with the `.ssh` of the user. Raises InfrastructureError if the machine
    cannot be reached or does not let the user in, UsageError for a wrong configuration.
    """
    with contextlib.ExitStack() as stack:
        yield _Login(stack, deadline, home or Path.home()).enter(address)


class _Login:
    """Logs in to one machine, through the machines on the way; all is undone by the stack."""

    def __init__(self, stack: contextlib.ExitStack, deadline: Deadline, home: Path) -> None:
        self._stack = stack
        self._deadline = deadline
        self._home = home
        self._jumps = 0
        self._complaints: list[BinaryIO] = []  # of proxy commands

    def enter(self, address: SshAddress, through: Sequence[SshAddress] = ()) -> Ssh:
        """Log in to a machine, through these ones, or those of its configuration."""
        settings = settings_for(address, self._home)
        try:
            line = BoundedLine(self._line(settings, through or settings.proxy_jumps))
            transport = paramiko.Transport(line)  # type: ignore[arg-type]
            self._stack.callback(transport.close)
            known = read_known_keys(settings.known_hosts, settings.host_key_name)
            _prefer(transport, known)
            if not negotiate(transport, self._deadline):
                raise transport.get_exception() or EOFError("it does not speak SSH")
            _check_host_key(transport.get_remote_server_key(), known, settings, address)
        except _FAILURES as error:
            why = " ".join(filter(None, (str(error) or type(error).__name__, *self._printed())))
            raise connection_error(
                f"{address} cannot be reached: {why}",
                f"find out why `{escape_shell(address.ssh_command)}` fails; is the machine on?",
            ) from error
        _authenticate(transport, settings, address)
        return Ssh(transport, line)

    def _line(
        self, settings: SshSettings, jumps: Sequence[SshAddress]
    ) -> socket.socket | paramiko.Channel:
        """Open the line to the SSH server: directly, through other machines, or by a command."""
        if jumps:
            self._jumps += 1
            if self._jumps > MOST_JUMPS:
                raise OSError(f"the way leads through more than {MOST_JUMPS} machines (ProxyJump)")
            *before, last = jumps
            gate = self.enter(last, before)
            return gate.open_line(settings.host, settings.port, self._deadline)
        if settings.proxy_command:
            return self._run_proxy(settings.proxy_command)
        address = (settings.host, settings.port)
        line = socket.create_connection(address, self._deadline.socket_timeout)
        self._stack.callback(line.close)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    def _run_proxy(self, argv: Sequence[str]) -> socket.socket:
        """Start a command whose standard input and output are the line. It ends with the line."""
        line, theirs = socket.socketpair()
        self._stack.callback(line.close)
        complaint = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
        self._stack.callback(complaint.close)
        with theirs:
            end = theirs.fileno()
            process = subprocess.Popen(argv, stdin=end, stdout=end, stderr=complaint)
        self._stack.callback(_end, process)
        self._complaints.append(complaint)
        return line

    def _printed(self) -> Iterator[str]:
        """Yield what proxy commands have printed."""
        for complaint in self._complaints:
            complaint.seek(0)
            yield complaint.read(MOST_COMPLAINT).decode(errors="replace").strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _prefer(transport: paramiko.Transport, known: KnownKeys) -> None:
    """Ask for host keys of the types that are known: a server may have several."""
    options = transport.get_security_options()
    types = [
        name
        for kind in dict.fromkeys(known.trusted.values())
        for name in (_RSA if kind == "ssh-rsa" else (kind,))
    ]
    options.key_types = sorted(options.key_types, key=lambda each: each not in types)


def _check_host_key(
    shown: paramiko.PKey, known: KnownKeys, settings: SshSettings, address: SshAddress
) -> None:
    """Raise InfrastructureError for a host key that the user does not trust."""
    key = shown.get_base64()
    if key in known.trusted and key not in known.revoked:
        return
    about = f"{address} shows a host key that"
    shown_as = f"({shown.get_name()}, {shown.fingerprint})"
    log_in_once = (
        f"`{escape_shell(address.ssh_command)}`, and compare the fingerprint that it shows"
    )
    if key in known.revoked:
        raise connection_error(
            f"{about} is marked as revoked {shown_as}", "do not connect: it may be another machine"
        )
    if known.trusted:
        forget = escape_shell(("ssh-keygen", "-R", settings.host_key_name))
        raise connection_error(
            f"{about} is not the one that you know {shown_as}",
            "it may be another machine that answers. If you have reinstalled it, forget its old key "
            f"by `{forget}`, log in once by {log_in_once}",
        )
    raise connection_error(
        f"{about} you do not know {shown_as}",
        f"log in once by {log_in_once} with that of the machine itself",
    )


def _authenticate(
    transport: paramiko.Transport, settings: SshSettings, address: SshAddress
) -> None:
    """Log in by a key, or without one where the server asks for none. Raises InfrastructureError."""
    tried = []
    why: Exception | None = None
    with _agent(settings) as agent_keys:
        for key in _keys(settings, agent_keys):
            tried.append(f"{key.get_name()} {key.fingerprint}")
            try:
                if not transport.auth_publickey(settings.user, key):
                    return
            except _FAILURES as error:
                why = error
                if not transport.is_active():
                    break
    with contextlib.suppress(*_FAILURES):
        if transport.is_active():
            transport.auth_none(settings.user)
            return
    offered = f"the keys offered were {', '.join(tried)}" if tried else "there was no key to offer"
    raise connection_error(
        f"{address} does not let {settings.user} in: {offered}",
        f"make `{escape_shell(address.ssh_command)}` work without a question: add your key to the SSH "
        "agent (ssh-add), or name it by IdentityFile in ~/.ssh/config",
    ) from why


@contextlib.contextmanager
def _agent(settings: SshSettings) -> Iterator[Sequence[paramiko.PKey]]:
    """Yield the keys of the SSH agent of the user."""
    if not settings.use_agent or not os.environ.get("SSH_AUTH_SOCK"):
        yield ()
        return
    try:
        agent = paramiko.Agent()
    except paramiko.SSHException:  # it does not speak the protocol
        yield ()
        return
    try:
        yield agent.get_keys()
    finally:
        agent.close()


def _keys(settings: SshSettings, of_agent: Sequence[paramiko.PKey]) -> Iterator[paramiko.PKey]:
    """Yield the keys to offer: those that the configuration names, then others of the agent.

    A file that needs a passphrase is left out: its key is in the agent, or is not used.
    """
    offered = set()
    for path in settings.identities:
        named = _public_key(path)
        found = next((each for each in of_agent if each.get_base64() == named), None)
        if key := found or _private_key(path):
            offered.add(key.get_base64())
            yield key
    if not settings.identities_only:
        yield from (each for each in of_agent if each.get_base64() not in offered)


def _private_key(path: Path) -> paramiko.PKey | None:
    """Read a private key, with the certificate beside it. Return None if it cannot be used."""
    try:
        return paramiko.PKey.from_path(path)
    except (*_FAILURES, ValueError, TypeError):
        return None


def _public_key(path: Path) -> str:
    """Return the public key beside a private one, in base64; empty without one."""
    try:
        return (path.with_name(f"{path.name}.pub").read_text().split() or ["", ""])[1]
    except (OSError, ValueError, IndexError):
        return ""
