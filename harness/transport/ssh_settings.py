"""What the SSH configuration of the user says about a machine: ssh_config(5).

paramiko parses the files, apart from `Include`, which it does not know.
"""

from __future__ import annotations

import getpass
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import paramiko

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.ssh_address import SshAddress

PORT = 22
_SYSTEM = Path("/etc/ssh")
_MOST_DEPTH = 16  # of files that include each other: readconf.c
_NEVER = "Host !*"  # begins a block that applies to no machine
_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """How to reach a machine and who we are there.

    host, port: where to connect to. host_key_name: the name of its key in the files known_hosts.
    identities: files of private keys. identities_only: offer no other keys of the SSH agent.
    use_agent: whether the SSH agent is asked for keys.
    proxy_command: a command line that connects to it; proxy_jumps: machines on the way. Both may be
    empty.
    """

    host: str
    port: int
    user: str
    host_key_name: str
    known_hosts: tuple[Path, ...]
    identities: tuple[Path, ...] = ()
    identities_only: bool = False
    use_agent: bool = True
    proxy_command: tuple[str, ...] = ()
    proxy_jumps: tuple[SshAddress, ...] = ()


def settings_for(address: SshAddress, home: Path, system: Path = _SYSTEM) -> SshSettings:
    """Return the settings for a machine, of the files in `home`/.ssh and in `system`.

    Raises UsageError for a file that cannot be parsed.
    """
    own = home / ".ssh"
    found = _lookup(address, (own / "config", system / "ssh_config"))
    port = address.port or _number(found.get("port", ""), "Port") or PORT
    host = found.get("hostname", address.host)
    name = found.get("hostkeyalias", host)
    known: list[str] = [
        *(shlex.split(found.get("userknownhostsfile", "")) or [f"{own}/known_hosts"]),
        *(shlex.split(found.get("globalknownhostsfile", "")) or [f"{system}/ssh_known_hosts"]),
    ]
    identities = found.get("identityfile") or [own / each for each in _IDENTITIES]
    return SshSettings(
        host=host,
        port=port,
        user=address.user or found.get("user") or getpass.getuser(),
        host_key_name=name if port == PORT or "hostkeyalias" in found else f"[{name}]:{port}",
        known_hosts=tuple(_expand(each, home) for each in known),
        identities=tuple(_expand(each, home) for each in identities),
        identities_only=found.get("identitiesonly", "no").lower() == "yes",
        use_agent=found.get("identityagent", "").lower() != "none",
        proxy_command=tuple(shlex.split(found.get("proxycommand") or "")),
        proxy_jumps=_jumps(found),
    )


def _lookup(address: SshAddress, files: tuple[Path, ...]) -> Mapping[str, str]:
    """Look a machine up in configuration files; what the first file says takes precedence."""
    given = [f"User {address.user}"] if address.user else []
    given += [f"Port {address.port}"] if address.port else []
    lines = [*given, *(line for file in files for line in (*_lines(file), "Host *"))]
    try:
        return paramiko.SSHConfig.from_text("\n".join(lines)).lookup(address.host)
    except (paramiko.SSHException, ValueError, LookupError) as error:
        raise UsageError(
            f"the SSH configuration for {address.host} cannot be read: {error}",
            f"correct {files[0]} or {files[1]}",
        ) from error


def _lines(file: Path, depth: int = 0) -> Iterator[str]:
    """Yield the lines of a file, with those of the files that it includes.

    Behind an included file the block goes on that it is included in: its first line is repeated. A
    block for which a command would have to be run (Match exec) never applies.
    """
    try:
        text = file.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}", "make it readable for this user"
        ) from error
    block = "Host *"
    for line in text.splitlines():
        key, _, value = line.strip().replace("=", " ", 1).partition(" ")
        if key.lower() == "match" and "exec" in value.lower().split():
            line = _NEVER
        if key.lower() in ("host", "match"):
            block = line
        if key.lower() != "include":
            yield line
        elif depth < _MOST_DEPTH:
            for included in _included(value, file.parent):
                yield from _lines(included, depth + 1)
            yield block


def _included(value: str, folder: Path) -> Iterator[Path]:
    for word in shlex.split(value):
        pattern = Path(word).expanduser()
        if pattern.is_absolute():
            yield from sorted(Path("/").glob(str(pattern)[1:]))
        else:
            yield from sorted(folder.glob(word))


def _jumps(found: Mapping[str, str]) -> tuple[SshAddress, ...]:
    """Return the machines on the way. They take precedence over ProxyCommand, as in OpenSSH."""
    jumps = found.get("proxyjump", "none")
    if jumps.lower() == "none":
        return ()
    return tuple(SshAddress.parse(each.strip()) for each in jumps.split(","))


def _number(text: str, key: str) -> int:
    if not text:
        return 0
    if text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    raise UsageError(f"{key} {text}: this is not a port", "correct ~/.ssh/config")


def _expand(path: str | Path, home: Path) -> Path:
    """Return the path of a file of the user: `~` is the home, a relative path is below .ssh."""
    text = os.fspath(path)
    return home / text[2:] if text.startswith("~/") else home / ".ssh" / text
