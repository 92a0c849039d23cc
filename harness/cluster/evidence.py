"""The files that travel from a worker into the run directory.

The worker sends at most so many bytes of a tree, and says what it has cut. The coordinator trusts
nothing of it: a name must lie in a place of the task, a link in the share of one of its guests, and a task
has a budget of bytes and names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from foothold_lab.harness.cluster.messages import PART, EvidenceLink, EvidencePart
from foothold_lab.harness.model.sizes import format_size
from foothold_lab.harness.run_directory import TreeBudget, check_name

MOST_OF_CELL = 8 << 20  # bytes of the evidence of a cell
MOST_OF_GUEST = 256 << 20  # and of a boot: its share has the files of all its subjects
SHARE = "share"


@dataclass(frozen=True)
class Tree:
    """A directory whose files travel as `name`, and how many bytes of them do."""

    directory: Path
    name: str
    most: int


def send_tree(tree: Tree, send: Callable[[EvidencePart | EvidenceLink], None]) -> list[str]:
    """Send the files of a tree; return what was cut, as sentences.

    Small files travel whole. The large ones share what is left.
    """
    files, links = _contents(tree.directory)
    cut = []
    left = tree.most
    for done, (size, path) in enumerate(sorted(files)):
        part = min(size, left // (len(files) - done))
        left -= part
        name = str(path.relative_to(tree.directory))
        if part < size:
            kept = f"{format_size(part)} of {format_size(size)}"
            cut.append(f"the evidence is cut: {kept} of {name} came from the worker")
        for data in _parts(path, part):
            mode = path.stat().st_mode & 0o777
            send(EvidencePart(name=f"{tree.name}/{name}", data=data, mode=mode))
    for path in links:
        name = f"{tree.name}/{path.relative_to(tree.directory)}"
        send(EvidenceLink(name=name, target=str(path.readlink())))
    return cut


def _contents(directory: Path) -> tuple[list[tuple[int, Path]], list[Path]]:
    """Return the regular files below a directory with their sizes, and its symbolic links."""
    files, links = [], []
    for folder, names, others in os.walk(directory):
        for each in (*names, *others):
            path = Path(folder, each)
            if path.is_symlink():
                links.append(path)
            elif path.is_file():
                files.append((path.stat().st_size, path))
    return files, links


def _parts(path: Path, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file; at least one part, which may be empty."""
    with path.open("rb") as file:
        data = file.read(min(size, PART))
        yield data
        while data and (size := size - len(data)):
            data = file.read(min(size, PART))
            yield data


@dataclass(kw_only=True)
class Inbox:
    """Writes the evidence of one task below the directory of the run.

    `cells` are the names of its cells, `suffix` ends the names of its boots. Raises ValueError for
    a name that is none of these, OSError if the budget is used up or a file cannot be written.
    """

    directory: Path
    cells: Iterable[str]
    suffix: str
    budget: TreeBudget
    _links: list[EvidenceLink] = field(default_factory=list)

    def add(self, part: EvidencePart | EvidenceLink) -> None:
        """Append a part to its file; keep a link until `close`."""
        path = self._path(part.name)
        if isinstance(part, EvidenceLink):
            _check_link(part)
            self.budget.spend(names=1)
            self._links.append(part)
            return
        self.budget.spend(size=len(part.data), names=0 if path.exists() else 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
            file.write(part.data)
            os.fchmod(file.fileno(), part.mode & 0o700 | 0o600)

    def close(self) -> None:
        """Make the links, now that no file is written any more. One through another is left out."""
        for link in self._links:
            path = self._path(link.name)
            if path.parent.resolve().is_relative_to(self.directory.resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.symlink_to(link.target)

    def _path(self, name: str) -> Path:
        check_name(name)
        for cell in self.cells:
            if name.startswith(f"cells/{cell}/"):
                return self.directory / name
        boot = re.fullmatch(r"guests/([^/]+)/(.+)", name)
        if not boot:
            raise ValueError(f"{name[:200]!r} is not evidence of this task")
        return self.directory / f"guests/{boot[1]}{self.suffix}/{boot[2]}"


def _check_link(link: EvidenceLink) -> None:
    parts = PurePosixPath(link.name).parts
    if len(parts) < 4 or parts[0] != "guests" or parts[2] != SHARE:
        raise ValueError(f"{link.name[:200]!r} is not a link of a share")
