"""A plan that has been read: the cells to run, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from foothold_lab.harness.api.errors import image_errors_converted
from foothold_lab.harness.api.vocabulary import vocabulary
from foothold_lab.harness.model.cells import ALLOCATOR, Cell
from foothold_lab.harness.plan import PlanFile, find_plan, load_plan
from foothold_lab.images.builder import Builder


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A named list of cells. `file` is the plan as it was read: programs, required guests, retries.

    Plans are immutable: `only` returns a smaller one.
    """

    name: str
    cells: tuple[Cell, ...]
    file: PlanFile = field(repr=False)

    @classmethod
    def load(cls, name_or_path: str | Path, *, builder: Builder | None = None) -> Self:
        """Read a plan: a built-in one by its name, such as `default`, or a TOML file.

        Nothing is booted or built. Raises UsageError, which names the file and the line.
        """
        path = find_plan(str(name_or_path))
        with image_errors_converted():
            file = load_plan(path, vocabulary(builder or Builder()))
        return cls(name=file.name, cells=file.cells(), file=file)

    def only(self, wanted: Callable[[Cell], bool]) -> Self:
        """Return the plan with those cells for which `wanted` is true."""
        return self.with_cells([cell for cell in self.cells if wanted(cell)])

    def with_cells(self, cells: Sequence[Cell]) -> Self:
        """Return the plan with other cells, each once.

        Raises UsageError for a guest, subject or policy that the plan does not know.
        """
        return replace(self, cells=tuple(dict.fromkeys(map(self._checked, cells))))

    def _checked(self, cell: Cell) -> Cell:
        known = self.file.vocabulary
        known.check_subject(cell.subject)
        if cell.subject == ALLOCATOR:
            known.check_policy(cell.policy)
        return replace(cell, guest=known.resolve_guest(cell.guest))
