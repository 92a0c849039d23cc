"""Which changes of files count: those of sources, and those of the program.

The sources are the files below a directory, without those that git ignores, the directories of
version control, the files of editors, and the program itself.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.watch.inotify import Inotify

QUIET_SECONDS = 0.05  # without a change, after which all changes of one moment are known
LONGEST_SECONDS = 1.0  # until changes count that do not pause
MOST_DIRECTORIES = 20_000
_CONTROL = frozenset({".git", ".hg", ".svn"})
# vim writes .NAME.swp and 4913, emacs .#NAME and #NAME#, others NAME~
_OF_EDITORS = re.compile(r"4913|\..*\.sw[a-z]|\.#.*|#.*#|.*~|\.goutputstream-.*")


@dataclass
class Changes:
    """What has changed: files of the sources, and whether the program, or one of its files, has.

    `at` is the time of the last change that was seen, of the monotonic clock.
    """

    sources: set[Path] = field(default_factory=set)
    program: bool = False
    at: float = field(default_factory=time.monotonic)

    def __bool__(self) -> bool:
        return bool(self.sources) or self.program


class SourceWatch:
    """Watches a directory of sources, if there is one, and the files of a program.

    What lies below `ours`, a directory of this process, does not count.
    """

    def __init__(
        self, inotify: Inotify, root: Path | None = None, ours: Path | None = None
    ) -> None:
        self._inotify = inotify
        self._root = root
        self._ours = ours
        self._program: frozenset[Path] = frozenset()
        self._products: set[Path] = set()
        if root:
            self._add_tree(root)

    def fileno(self) -> int:
        """Return the descriptor, which is readable when something may have changed."""
        return self._inotify.fileno()

    def set_program(self, files: Collection[Path]) -> None:
        """Watch these files, and what lies directly in those that are directories."""
        self._program = frozenset(files)
        for directory in {each if each.is_dir() else each.parent for each in files}:
            self._inotify.add(directory)

    def poll(self, *, settle: bool = True) -> Changes:
        """Return what has changed. With `settle`, waits until changes pause."""
        changes = Changes()
        latest = Deadline.after(LONGEST_SECONDS)
        while True:
            self._take(changes)
            wait = min(QUIET_SECONDS, latest.remaining) if settle and changes else 0.0
            if not select.select([self], [], [], wait)[0]:
                break
        changes.sources -= self._ignored(changes.sources)
        return changes

    def poll_after_build(self, previous: Collection[Path]) -> set[Path]:
        """Return the sources that have changed during a build, and not by it.

        A file that changes during two builds, one after the other, is a product of the build.
        `previous` are those that have changed during the build before. A change of a product counts
        between builds only.
        """
        select.select([self], [], [], QUIET_SECONDS)
        changed = self.poll(settle=False).sources
        self._products |= changed & set(previous)
        return changed - self._products

    def _take(self, changes: Changes) -> None:
        for path in self._inotify.changes():
            if path in self._program or path.parent in self._program:
                changes.program = True
            elif self._root and path.is_relative_to(self._root) and path != self._ours:
                if path.is_dir() and not path.is_symlink():
                    self._add_tree(path)
                if not _OF_EDITORS.fullmatch(path.name) and path.name not in _CONTROL:
                    changes.sources.add(path)
            changes.at = time.monotonic()

    def _add_tree(self, top: Path) -> None:
        ignored = self._ignored_below(top)
        count = 0
        for folder, names, _ in os.walk(top):
            here = Path(folder)
            names[:] = [n for n in names if n not in _CONTROL and here / n not in ignored]
            if here == self._ours:
                names.clear()
                continue
            self._inotify.add(here)
            if (count := count + 1) > MOST_DIRECTORIES:
                raise UsageError(
                    f"{top} has more than {MOST_DIRECTORIES} directories",
                    "start it in the directory of the sources, or let .gitignore name the other directories",
                )

    def _ignored_below(self, top: Path) -> set[Path]:
        """Return the files and directories that git ignores; a directory stands for its content."""
        words = ["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"]
        return {top / os.fsdecode(name.rstrip(b"/")) for name in _git(top, words) if name}

    def _ignored(self, paths: Iterable[Path]) -> set[Path]:
        """Return those of some paths that git ignores."""
        names = b"\0".join(map(os.fsencode, paths))
        if not names or not self._root:
            return set()
        found = _git(self._root, ["check-ignore", "-z", "--stdin"], names)
        return {Path(os.fsdecode(name)) for name in found if name}


def _git(directory: Path, words: Sequence[str], data: bytes = b"") -> list[bytes]:
    """Return the names that git prints: no names without git, or outside of a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", directory, *words], input=data, capture_output=True, check=False
        )
    except OSError:
        return []
    return done.stdout.split(b"\0")
