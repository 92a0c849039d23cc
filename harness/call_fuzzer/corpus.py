"""Programs with known answers: corpus.toml, checked when it is read."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from foothold_lab.harness.call_fuzzer.report import Program, parse_program
from foothold_lab.harness.conformance import Kernel, KernelRange, KnownDifference, convert_table
from foothold_lab.harness.model.errors import UsageError

FILE = Path(__file__).with_name("corpus.toml")


@dataclass(frozen=True, kw_only=True)
class CorpusProgram:
    """A program that is run first, in every guest.

    It differs from this machine in the kernels of `kernels`, and in those that are known to differ in
    the probe `probe`; `because` says why. With neither it is answered in the same way everywhere.
    `sometimes`: it depends on timing or on the host.
    """

    calls: Program
    because: str
    probe: str = ""
    kernels: KernelRange | None = None
    sometimes: bool = False

    def may_differ(self, kernel: Kernel, known: Iterable[KnownDifference]) -> bool:
        """Say whether the program is known to differ in a kernel."""
        if self.kernels and self.kernels.holds_for(kernel):
            return True
        return any(each.probe == self.probe and each.holds_for(kernel) for each in known)


@functools.cache
def read_corpus(file: Path = FILE) -> tuple[CorpusProgram, ...]:
    """Read the corpus. Raises UsageError for a file that makes no sense."""
    try:
        tables = msgspec.convert(tomllib.loads(file.read_text())["program"], list[dict[str, Any]])
        return tuple(map(_convert, tables))
    except (OSError, KeyError, ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{file}: {error}", "correct the file") from error


def _convert(table: dict[str, Any]) -> CorpusProgram:
    calls = parse_program(table["calls"])
    return convert_table({**table, "calls": calls}, CorpusProgram, table["calls"])
