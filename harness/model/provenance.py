"""What a run was made with: of which Foothold, by which Python, on which kernel of the host."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness import __version__

ROOT = Path(__file__).resolve().parents[1]  # the checkout, or the installed package
_PACKAGES = ("allocator", "harness", "images")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """`revision` is git's if Foothold runs from a checkout, with `-dirty` behind it if something is
    changed there. `code` is a hash of the sources themselves: two runs with the same one were made
    by the same program, however it was installed.
    """

    version: str = ""
    revision: str = ""
    code: str = ""
    python: str = ""
    kernel: str = ""


@functools.cache
def here() -> Provenance:
    """Say it of this process."""
    return Provenance(
        version=__version__,
        revision=_revision(),
        code=_code(),
        python=platform.python_version(),
        kernel=platform.release(),
    )


def _revision() -> str:
    # another project's checkout, in whose environment we are installed, says nothing of us
    if not (ROOT / ".git").exists():
        return ""
    argv = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):  # no git, or it does not trust this directory
        return ""
    return done.stdout.strip()


def _code() -> str:
    whole = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            whole.update(f"{path.relative_to(ROOT)}\0".encode())
            whole.update(path.read_bytes())
    return whole.hexdigest()[:16]
