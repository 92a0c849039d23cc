"""What the kernel of a guest prints while something runs in it."""

from __future__ import annotations

from pathlib import Path

MOST_CONSOLE = 1 << 20  # bytes that are searched


class ConsoleLog:
    """The console of a guest from now on; empty for a guest without one.

    `directory` is that of its boot.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "console.log"
        self._start = self._path.stat().st_size if self._path.exists() else 0

    def read(self) -> str:
        """Return what was printed since, up to MOST_CONSOLE bytes. Guest.diagnose() completes it."""
        if not self._path.exists():
            return ""
        with self._path.open("rb") as file:
            file.seek(self._start)
            return file.read(MOST_CONSOLE).decode(errors="replace")
