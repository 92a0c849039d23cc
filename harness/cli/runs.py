"""What a run is called whose directory is here: the same words as `foothold show` takes."""

from __future__ import annotations

from pathlib import Path

from foothold_lab.harness.cli.context import state
from foothold_lab.harness.model.errors import UsageError


def kept_runs() -> list[Path]:
    """Return the directories of this user's runs, the newest first; a name begins with a time."""
    return sorted((path.parent for path in _where().glob("*/run.json")), reverse=True)


def find_run(word: str) -> Path:
    """Find a run's directory: by its path, its name or the beginning of it, `last`, `last~1`.

    Raises UsageError.
    """
    from foothold_lab.harness.results_db.reader import LAST

    if _is_run(Path(word)):
        return Path(word).absolute()
    runs = kept_runs()
    if match := LAST.fullmatch(word):
        found = runs[int(match[1] or 0) :][:1]
    else:
        found = (
            [_where() / word]
            if _is_run(_where() / word)
            else [each for each in runs if "/" not in word and each.name.startswith(word)]
        )
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.name for each in found[:6])
        raise UsageError(f"{word!r} names several runs: {names}", "write more of its name")
    newest = ", ".join(each.name for each in runs[:3])
    raise UsageError(
        f"there is no run {word!r} in {_where()}",
        f"give its directory, or `last`; the newest are: {newest}"
        if newest
        else "`foothold run` makes one",
    )


def _where() -> Path:
    return state() / "runs"


def _is_run(directory: Path) -> bool:
    """Has it one, or one that is under way and keeps guests?"""
    return (directory / "run.json").is_file() or (directory / "desk").is_socket()
