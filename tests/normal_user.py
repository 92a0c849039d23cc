"""An ordinary user for the tests, who reads the image store of root and has a home of its own.

`python -m tests.normal_user COMMAND…` runs COMMAND as this user, for root. Store and Python may be
below a directory that the user cannot enter, such as /root. Then that directory is covered in a mount
namespace of the command, and shows these two alone. The machine itself does not change.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.images.builder import Builder

NUMBER = 65534  # of user and group
_BECOME = ("setpriv", f"--reuid={NUMBER}", f"--regid={NUMBER}", "--clear-groups")
UNSHARE = ("unshare", "--mount", "--propagation", "private")
_TMPFS = ("mount", "-t", "tmpfs", "-o", "mode=755", "none")


@dataclass(frozen=True)
class NormalUser:
    """Runs commands as the user. `home`: its directory, which is gone afterwards."""

    home: Path
    _prefix: tuple[str, ...]

    def command(self, *argv: str | Path) -> list[str]:
        """Return the command line that runs a command as the user."""
        return [*self._prefix, *map(str, argv)]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the user's commands."""
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FOOTHOLD_CACHE": str(Builder().cache.root),
            "FOOTHOLD_HISTORY": str(self.home / "history.db"),
        }  # fmt: skip


def changes_users() -> bool:
    """Return whether setpriv runs a command as another user. That of busybox does not."""
    if not shutil.which(_BECOME[0]):
        return False
    done = subprocess.run([_BECOME[0], "--help"], capture_output=True, text=True, check=False)
    return "--reuid" in done.stdout + done.stderr


@contextlib.contextmanager
def normal_user() -> Iterator[NormalUser]:
    """Yield the user. Only root can run commands as another user."""
    shown = {Builder().cache.root, *(Path(each) for each in (sys.base_prefix, sys.prefix))}
    with tempfile.TemporaryDirectory(prefix="foothold-user-") as name:
        home, stash = Path(name) / "home", Path(name) / "stash"
        for directory in (Path(name), home, stash):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
        os.chown(home, NUMBER, NUMBER)
        try:
            yield NormalUser(home, (*_namespace(shown, stash), *_BECOME))
        finally:
            _end_processes(home)


def _end_processes(home: Path) -> None:
    """End what the user's commands left: rootless Podman keeps a process for its user namespace."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


def _namespace(shown: set[Path], stash: Path) -> tuple[str, ...]:
    """Return the start of a command line that runs a command where the user can reach directories."""
    if not (mounts := [shlex.join(map(str, each)) for each in _mounts(shown, stash)]):
        return ()
    script = "\n".join((*mounts, 'exec "$@"'))
    return (*UNSHARE, "sh", "-ec", script, "sh")


def _mounts(shown: set[Path], stash: Path) -> Iterator[Sequence[str | Path]]:
    """Yield the commands that let the user reach directories: none if it can."""
    hidden = {each: cover for each in sorted(shown) if (cover := _first_closed(each))}
    if not hidden:
        return
    yield (*_TMPFS, stash)  # what is mounted in it ends with the namespace
    for number, directory in enumerate(hidden):
        yield ("mkdir", stash / str(number))
        yield ("mount", "--bind", directory, stash / str(number))
    for cover in sorted(set(hidden.values())):
        yield (*_TMPFS, cover)
    for number, directory in enumerate(hidden):
        yield ("mkdir", "-p", directory)
        yield ("mount", "--bind", stash / str(number), directory)


def _first_closed(path: Path) -> Path | None:
    """Return the topmost directory of a path that the user cannot enter, None if there is none."""
    for each in reversed((path, *path.parents)):
        if subprocess.run([*_BECOME, "test", "-x", each], check=False).returncode:
            return each
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run a command as an ordinary user.")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    command = parser.parse_args().command
    with normal_user() as user:
        done = subprocess.run(user.command(*command), env=user.environment, check=False)
    raise SystemExit(done.returncode)
