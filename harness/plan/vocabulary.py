"""The names that a plan may use, and the error for any other name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from foothold_lab.harness.model.cells import ALLOCATOR
from foothold_lab.harness.model.container_name import parse_container
from foothold_lab.harness.model.errors import UsageError, did_you_mean
from foothold_lab.harness.model.placement import parse_placement
from foothold_lab.harness.model.sizes import parse_size
from foothold_lab.harness.model.ssh_address import SshAddress, is_ssh_address

LARGEST_SMALL = 32 << 10  # bytes of a block of a size class


@dataclass(frozen=True)
class Vocabulary:
    """The names that a plan may use.

    `guests` maps each name of a guest to its canonical name; the name of a container with an image
    of the user, the address of a machine and the machine of a worker (`native@NAME`) are valid as well. `subjects` maps the name of each
    subject, the allocator excepted, to its title. `machines` are those that are reached by SSH, by
    their names in a plan.
    """

    guests: Mapping[str, str]
    policies: tuple[str, ...]
    subjects: Mapping[str, str] = field(default_factory=dict)
    machines: Mapping[str, SshAddress] = field(default_factory=dict)

    def resolve_guest(self, name: str) -> str:
        """Return the canonical name of a guest. Raises UsageError if it is unknown."""
        if name in self.guests:
            return self.guests[name]
        if container := parse_container(name):
            return str(container)
        if is_ssh_address(name):
            return str(SshAddress.parse(name))
        if placed := parse_placement(name):
            return placed
        raise unknown_word("guest", name, self.guests)

    def check_policy(self, name: str) -> str:
        """Return the name of a policy. Raises UsageError if it is unknown."""
        if name in self.policies:
            return name
        raise unknown_word("policy", name, self.policies)

    def check_subject(self, name: str) -> str:
        """Return the name of a subject. Raises UsageError if it is unknown."""
        names = self.all_subjects
        if name in names:
            return name
        error = unknown_word("subject", name, names)
        ours = [each for each in names if each.rpartition("-")[0] not in names]
        ports = "" if len(ours) == len(names) else "; runtimes also with -arm64 and -riscv64"
        raise UsageError(str(error), f"known subjects: {', '.join(ours)}{ports}")

    @property
    def all_subjects(self) -> tuple[str, ...]:
        """The names of all subjects, the allocator first."""
        return (ALLOCATOR, *self.subjects)

    def names_of(self, guest: str) -> tuple[str, ...]:
        """Return all names of a guest, its canonical name first."""
        return (guest, *(alias for alias, name in self.guests.items() if name == guest))

    def with_machine(self, name: str, address: SshAddress) -> Vocabulary:
        """Return the same vocabulary with a machine as one more guest. Raises UsageError for a bad
        name.
        """
        if name in self.guests:
            raise UsageError(f"a guest {name!r} exists already", "give the machine another name")
        _check_name(name, "guest")
        guests, machines = {**self.guests, name: name}, {**self.machines, name: address}
        return replace(self, guests=guests, machines=machines)

    def with_subject(self, name: str, title: str) -> Vocabulary:
        """Return the same vocabulary with one more subject. Raises UsageError for a bad name.

        A cell is named after its policy or its subject, so a name must not be both.
        """
        remedy = "give it another name"
        if name in self.all_subjects:
            raise UsageError(f"a subject {name!r} exists already", remedy)
        if name in self.policies:
            raise UsageError(f"{name!r} is a policy of the allocator", remedy)
        _check_name(name, "subject")
        return replace(self, subjects={**self.subjects, name: title})


def _check_name(name: str, noun: str) -> None:
    """Raise UsageError for a name that cannot be a part of the name of a cell."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        remedy = "use up to 100 letters, digits, and . _ - after the first"
        raise UsageError(f"{name!r} is not a valid name for a {noun}", remedy)


_PLURALS = {"policy": "policies"}


def unknown_word(noun: str, word: str, known: Iterable[str]) -> UsageError:
    """Return the error for a word that is not among the known ones."""
    names = list(dict.fromkeys(known))
    plural = _PLURALS.get(noun, f"{noun}s")
    return UsageError(
        f"unknown {noun} {word!r}{did_you_mean(word, names)}",
        f"known {plural}: {', '.join(names) or 'none'}",
    )


def check_workload(name: str) -> str:
    """Return the name of a workload of the allocator. Raises UsageError if it is unknown."""
    word, colon, size = name.partition(":")
    if colon and word in ("grow", "block"):
        parse_size(size)
    elif word == "small" and re.fullmatch(r"[0-9]{1,9}:.+", size):
        if parse_size(size.partition(":")[2]) > LARGEST_SMALL:
            raise UsageError(
                f"{name!r}: a small block has at most 32K", "use grow:SIZE, block:SIZE"
            )
    elif not re.fullmatch(r"none|default|hello|grow-[0-9]{1,6}", name):
        forms = ("none", "default", "hello", "grow:SIZE", "grow-MIB", "block:SIZE", "small:N:SIZE")
        near = (f"{each}:{size}" for each in ("grow", "block", "small")) if colon else forms
        raise UsageError(
            f"unknown workload {name!r}{did_you_mean(name, near)}",
            f"known workloads: {', '.join(forms)}",
        )
    return name
