"""The address of a machine that is reached by SSH: `ssh:USER@HOST:PORT`, as a user writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from foothold_lab.harness.model.errors import UsageError

SSH_PREFIX = "ssh:"
_FORM = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.\\-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9_.-]*)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_REMEDY = (
    "write ssh:USER@HOST or ssh:USER@HOST:PORT; HOST may be a name of ~/.ssh/config, which is also "
    "where an IPv6 address is written"
)


@dataclass(frozen=True)
class SshAddress:
    """Host (or a name of the SSH configuration of the user), user, and port.

    An empty user and port 0 are those of the SSH configuration, or the usual ones.
    """

    host: str
    user: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `[ssh:][USER@]HOST[:PORT]`. Raises UsageError."""
        match = _FORM.fullmatch(text.removeprefix(SSH_PREFIX))
        if not match or len(text) > 255:
            raise UsageError(f"{text[:100]!r} is not the address of a machine", _REMEDY)
        port = int(match["port"] or 0)
        if match["port"] and not 0 < port < 65536:
            raise UsageError(f"{text!r}: {port} is not a port", "use a port from 1 to 65535")
        return cls(match["host"], match["user"] or "", port)

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{SSH_PREFIX}{user}{self.host}{f':{self.port}' if self.port else ''}"

    @property
    def ssh_command(self) -> tuple[str, ...]:
        """The command line that logs in there."""
        port = ("-p", str(self.port)) if self.port else ()
        return ("ssh", *port, f"{self.user}@{self.host}" if self.user else self.host)


def is_ssh_address(word: str) -> bool:
    """Is this word meant as the address of a machine?"""
    return word.startswith(SSH_PREFIX)


def machine_option(name: str, address: SshAddress) -> tuple[str, ...]:
    """Return the command line option that makes a machine a guest with a name of its own."""
    return ("--guest", f"{name}={address}")


def split_machine(word: str) -> tuple[str, SshAddress] | None:
    """Split `NAME=ssh:ADDRESS`; None for another word. Raises UsageError for a wrong address."""
    name, equals, address = word.partition("=")
    if equals and is_ssh_address(address):
        return name, SshAddress.parse(address)
    return None
