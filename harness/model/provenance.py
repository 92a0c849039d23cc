"""The software that made a run: version of Foothold, Python, kernel of the host."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness import __version__

ROOT = Path(__file__).resolve().parents[2]  # the checkout, or the installed package
_PACKAGES = ("allocator", "harness", "images")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """`revision` is the git commit if Foothold runs from a checkout, followed by `-dirty` if the
    checkout has changes. `code` is a hash of the sources: two runs with the same hash were made by
    the same code, regardless of its installation.
    """

    version: str = ""
    revision: str = ""
    code: str = ""
    python: str = ""
    kernel: str = ""


@functools.cache
def here() -> Provenance:
    """Return the provenance of this process."""
    return Provenance(
        version=__version__,
        revision=_revision(),
        code=_code(),
        python=platform.python_version(),
        kernel=platform.release(),
    )


def _revision() -> str:
    # installed in an environment inside the checkout of another project
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
