"""Finds the directory of a run by the words that `foothold show` takes."""

from __future__ import annotations

from pathlib import Path

from foothold_lab.harness.cli.context import runs_directory
from foothold_lab.harness.model.errors import UsageError


def recorded_runs() -> list[Path]:
    """Return the directories of this user's runs, the newest first: a name begins with a time."""
    return sorted((path.parent for path in runs_directory().glob("*/run.json")), reverse=True)


def find_run(word: str) -> Path:
    """Find a run's directory by its path, its name, the beginning of its name, `last`, `last~1`.

    Raises UsageError if there is no such run, or several.
    """
    if _is_run(Path(word)):
        return Path(word).absolute()
    found = _matching(word, recorded_runs())
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.name for each in found[:6])
        raise UsageError(f"{word!r} matches several runs: {names}", "give more of the name")
    newest = ", ".join(each.name for each in recorded_runs()[:3])
    remedy = (
        f"give its directory, or `last`; the newest runs: {newest}"
        if newest
        else "`foothold run` makes one"
    )
    raise UsageError(f"there is no run {word!r} in {runs_directory()}", remedy)


def run_path(word: str) -> Path:
    """Return the path that a word names if it exists, which its reader checks; else that of a run.

    Raises UsageError.
    """
    return Path(word) if Path(word).exists() else find_run(word)


def _matching(word: str, runs: list[Path]) -> list[Path]:
    from foothold_lab.harness.results_db.reader import LAST

    if match := LAST.fullmatch(word):
        return runs[int(match[1] or 0) :][:1]
    if _is_run(runs_directory() / word):
        return [runs_directory() / word]
    return [each for each in runs if "/" not in word and each.name.startswith(word)]


def _is_run(directory: Path) -> bool:
    """Does it hold a run, or one that is not finished and keeps guests?"""
    return (directory / "run.json").is_file() or (directory / "guests.socket").is_socket()
