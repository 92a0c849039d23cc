"""The known differences of kernels: differences.toml, checked when it is read."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from foothold_lab.harness.model.errors import UsageError

FILE = Path(__file__).with_name("differences.toml")
Effect = Literal["differs", "guest-killed"]
Mode = Literal["", "ptrace", "seccomp"]
_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})")


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel that was asked: the name of its guest, its release, and the mode of a UML kernel."""

    guest: str
    release: str
    mode: Mode = ""


def kernel_of(guest: str, release: str, argv: Sequence[str]) -> Kernel:
    """Return the kernel of a guest that was booted with a command line."""
    mode: Mode = ""
    if guest.startswith("uml-"):
        mode = "seccomp" if "seccomp=on" in argv else "ptrace"
    return Kernel(guest=guest, release=release, mode=mode)


@dataclass(frozen=True, kw_only=True)
class KernelRange:
    """Some kernels.

    guests: names of guests, with wildcards.
    since, before: versions of kernels (`6.12`); `before` is the first that is not one of them.
        Empty: no bound.
    mode: how a UML kernel runs its processes; empty: both ways.
    """

    guests: tuple[str, ...]
    since: str = ""
    before: str = ""
    mode: Mode = ""

    def __post_init__(self) -> None:
        for bound in filter(None, (self.since, self.before)):
            if not _VERSION.fullmatch(bound):
                raise ValueError(f"{bound!r} is not a version such as 6.12")

    def holds_for(self, kernel: Kernel) -> bool:
        """Say whether a kernel is one of them."""
        version = _version(kernel.release)
        return (
            any(fnmatchcase(kernel.guest, pattern) for pattern in self.guests)
            and self.mode in ("", kernel.mode)
            and (not self.since or version >= _version(self.since))
            and (not self.before or version < _version(self.before))
        )


@dataclass(frozen=True, kw_only=True)
class KnownDifference:
    """A difference that is known of some kernels.

    happens: what the kernel does. hits: which programs notice it.
    reference: a page of docs/, or a public report.
    sometimes: it depends on the processor of the host or on timing, so a probe may also conform.
    effect: what happens to the guest.
    """

    probe: str
    kernels: KernelRange
    happens: str
    hits: str
    reference: str
    sometimes: bool = False
    effect: Effect = "differs"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]+/[a-z0-9-]+", self.probe):
            raise ValueError(f"{self.probe!r} is not the name of a probe")
        if not all((self.kernels.guests, self.happens, self.hits, self.reference)):
            raise ValueError(f"{self.probe}: a value is empty")

    def holds_for(self, kernel: Kernel) -> bool:
        """Say whether a kernel is known to have this difference."""
        return self.kernels.holds_for(kernel)


def _version(release: str) -> tuple[int, int]:
    found = _VERSION.match(release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


_RANGE_KEYS = frozenset(each.name for each in fields(KernelRange))
T = TypeVar("T")


@functools.cache
def known_differences(file: Path = FILE) -> tuple[KnownDifference, ...]:
    """Read the known differences. Raises UsageError for a file that makes no sense."""
    try:
        data: Mapping[str, Any] = tomllib.loads(file.read_text())
        if unknown := set(data) - {"difference"}:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        tables = msgspec.convert(data.get("difference", []), list[dict[str, Any]])
        return tuple(map(_convert, tables))
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{file}: {error}", "correct the file") from error


def _convert(table: Mapping[str, Any]) -> KnownDifference:
    return convert_table(table, KnownDifference, table.get("probe", "an entry"))


def convert_table(table: Mapping[str, Any], kind: type[T], name: str) -> T:
    """Convert a table of a file whose keys are those of `kind` and of its `kernels`, side by side.

    Raises ValueError for a key that neither has, msgspec.ValidationError for a wrong value.
    """
    ranged = {key: value for key, value in table.items() if key in _RANGE_KEYS}
    others = {key: value for key, value in table.items() if key not in _RANGE_KEYS}
    assert is_dataclass(kind)
    known = {each.name for each in fields(kind)} - {"kernels"}
    if unknown := set(others) - known:
        raise ValueError(f"{name}: unknown keys {sorted(unknown)}")
    return msgspec.convert({**others, **({"kernels": ranged} if ranged else {})}, kind)
