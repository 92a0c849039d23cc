"""The words that a plan may use, and what is said of any other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from foothold_lab.harness.model.cells import ALLOCATOR
from foothold_lab.harness.model.errors import UsageError, did_you_mean
from foothold_lab.harness.model.sizes import parse_size


@dataclass(frozen=True)
class Known:
    """The words a plan may use: each guest's names with its canonical one, the policies, and the
    names of subjects besides the allocator, with what each is, in a line.
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

    def subject(self, name: str) -> str:
        """Return the subject's name if it is one. Raises UsageError."""
        if name in self.all_subjects:
            return name
        names = self.all_subjects
        error = unknown("subject", name, names)
        ours = [each for each in names if each.rpartition("-")[0] not in names]
        ports = "" if len(ours) == len(names) else ", the runtimes with -arm64 and -riscv64 as well"
        raise UsageError(str(error), f"there is: {', '.join(ours)}{ports}")

    @property
    def all_subjects(self) -> tuple[str, ...]:
        """The names of all subjects."""
        return (ALLOCATOR, *self.subjects)

    def names(self, guest: str) -> tuple[str, ...]:
        """All names of the guest whose canonical name this is."""
        return (guest, *(alias for alias, name in self.aliases.items() if name == guest))

    def with_subject(self, name: str, what: str) -> Known:
        """Return the same words and one subject more. Raises UsageError if its name will not do.

        Cells are called by policy or subject, so that a name must not be both.
        """
        remedy = "give it another name"
        if name in self.all_subjects:
            raise UsageError(f"there is a subject {name!r} already", remedy)
        if name in self.policies:
            raise UsageError(f"{name!r} is a policy of the allocator", remedy)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            remedy = "use up to 100 letters, digits, and . _ - within it"
            raise UsageError(f"{name!r} is no name for a subject", remedy)
        return replace(self, subjects={**self.subjects, name: what})


def unknown(kind: str, word: str, known: Iterable[str]) -> UsageError:
    """Return what to say of a word that is not known."""
    names = list(dict.fromkeys(known))
    return UsageError(
        f"unknown {kind} {word!r}{did_you_mean(word, names)}", f"there is: {', '.join(names)}"
    )


def workload(name: str) -> str:
    """Return the name of a workload of the allocator if it is one. Raises UsageError."""
    kind, colon, size = name.partition(":")
    if colon and kind in ("grow", "block"):
        parse_size(size)
    elif not re.fullmatch(r"none|default|hello|grow-[0-9]{1,6}", name):
        forms = ("none", "default", "hello", "grow:SIZE", "grow-MIB", "block:SIZE")
        near = (f"{each}:{size}" for each in ("grow", "block")) if colon else forms
        raise UsageError(
            f"unknown workload {name!r}{did_you_mean(name, near)}", f"there is: {', '.join(forms)}"
        )
    return name
