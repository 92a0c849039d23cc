"""The words that a plan may use, and what is said of any other."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from harness.errors import UsageError
from harness.sizes import parse_size


@dataclass(frozen=True)
class Known:
    """The words a plan may use: each guest's names with its canonical one, the policies, and the
    names of packaged subjects with what each is, in a line.
    """

    aliases: Mapping[str, str]
    policies: tuple[str, ...]
    subjects: Mapping[str, str] = field(default_factory=dict)

    def guest(self, name: str) -> str:
        """Return the canonical name of a guest. Raises UsageError."""
        if name in self.aliases:
            return self.aliases[name]
        raise unknown("guest", name, self.aliases)

    def policy(self, name: str) -> str:
        """Return the policy's name if it is one. Raises UsageError."""
        if name in self.policies:
            return name
        raise unknown("policy", name, self.policies)

    def names(self, guest: str) -> tuple[str, ...]:
        """All names of the guest whose canonical name this is."""
        return (guest, *(alias for alias, name in self.aliases.items() if name == guest))


def unknown(kind: str, word: str, known: Iterable[str]) -> UsageError:
    """Return what to say of a word that is not known."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word, names, n=1)
    meant = f": did you mean {near[0]}?" if near else ""
    return UsageError(f"unknown {kind} {word!r}{meant}", f"there is: {', '.join(names)}")


def wild(read: Callable[[str], str], known: Collection[str] = ()) -> Callable[[str], str]:
    """Let shell wildcards pass if they match a known word; everything else is for `read`."""

    def check(word: str) -> str:
        if not set(word) & set("*?["):
            return read(word)
        if known and not any(fnmatchcase(each, word) for each in known):
            raise UsageError(f"{word!r} matches none of them", f"there is: {', '.join(known)}")
        return word

    return check


def workload(name: str) -> str:
    """Return the name of a workload of the allocator if it is one. Raises UsageError."""
    kind, colon, size = name.partition(":")
    if colon and kind in ("grow", "block"):
        parse_size(size)
    elif not re.fullmatch(r"none|default|hello|grow-[0-9]+", name):
        there_is = "none, default, hello, grow:SIZE, grow-MIB, block:SIZE"
        raise UsageError(f"unknown workload {name!r}", f"there is: {there_is}")
    return name
