"""Host keys that the user trusts: the format is that of sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import paramiko

_REVOKED, _AUTHORITY = "@revoked", "@cert-authority"


@dataclass
class KnownKeys:
    """The keys of one machine: the type of each by the key, in base64; and keys that are revoked."""

    trusted: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)


def read_known_keys(files: Iterable[Path], name: str) -> KnownKeys:
    """Read the keys of a machine from files that may be absent. Lines that are not understood, and
    keys of authorities, are left out.
    """
    known = KnownKeys()
    for line in _lines(files):
        words = line.split()
        marker = words.pop(0) if words[0].startswith("@") else ""
        if len(words) < 3 or not _matches(name, words[0]):
            continue
        kind, key = words[1:3]
        if marker == _REVOKED:
            known.revoked.add(key)
        elif marker != _AUTHORITY:
            known.trusted[key] = kind
    return known


def _lines(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        yield from (each for each in text.splitlines() if each.strip() and each.strip()[0] != "#")


def _matches(name: str, patterns: str) -> bool:
    """Does a name match a comma-separated list of patterns, none of which excludes it?"""
    found = False
    for pattern in patterns.split(","):
        wanted = pattern.removeprefix("!")
        if pattern.startswith("|1|"):
            hit = _matches_hash(name, pattern)
        else:
            # brackets belong to a name with a port
            hit = fnmatchcase(name.lower(), wanted.lower().replace("[", "[[]"))
        if hit and pattern.startswith("!"):
            return False
        found |= hit
    return found


def _matches_hash(name: str, pattern: str) -> bool:
    try:
        return paramiko.HostKeys.hash_host(name, pattern) == pattern
    except (ValueError, AssertionError, IndexError):  # it is not a hash
        return False
