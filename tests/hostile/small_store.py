"""`foothold images` with small images, of packages of an archive that a test makes.

Run as `python -m tests.hostile.small_store KEYS images build`. Everything else is the real
program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from foothold_lab.harness.cli.main import program
from foothold_lab.images import apt, catalogue, processes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.recipes import Materials, Recipe
from tests.debian_archive import SUITE, Archive, file

FILES = 40  # of each package
PACKAGES = ("base", "tool", "extra")
IMAGES = ("tool", "root", "disk-a", "disk-b")


def make_archive(root: Path) -> Archive:
    """Make and publish an archive with the packages of these images."""
    archive = Archive(root)
    for name in PACKAGES:
        members = [
            file(f"./usr/share/{name}/{n}", os.urandom(5000), 0o755 if n % 2 else 0o644)
            for n in range(FILES)
        ]
        archive.add(name, members)
    archive.publish()
    return archive


def environment(cache: Path, mirror: str) -> dict[str, str]:
    """Return the environment for a store in `cache`."""
    state = cache.parent / "state"
    return {
        **os.environ, "FOOTHOLD_CACHE": str(cache), "FOOTHOLD_MIRROR": mirror,
        "XDG_STATE_HOME": str(state),
    }  # fmt: skip


def command(archive: Archive, *argv: str) -> list[str]:
    """Return the command line of `foothold images ARGV...` with these images."""
    return [sys.executable, "-m", __name__, str(archive.keys), "images", *argv]


def run(
    archive: Archive, variables: dict[str, str], *argv: str, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `foothold images ARGV...` to its end."""
    return subprocess.run(
        [*prefix, *command(archive, *argv)],
        env=variables, capture_output=True, text=True, timeout=120, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


def _copy(materials: Materials, out: Path) -> None:
    if materials.packages.is_dir():
        shutil.copytree(materials.packages, out, symlinks=True, dirs_exist_ok=True)
    for name, image in materials.images.items():
        shutil.copytree(image / "usr", out / name)
        (out / f"{name}.path").write_text(str(image))
    # a child, as compilers are, and time for others
    done = processes.run(["sleep", os.environ.get("BUILD_SECONDS", "0.02")])
    assert done.returncode == 0


def _recipe(name: str, *packages: str, needs: tuple[str, ...] = ()) -> Recipe:
    wanted = PackageSet(suite=SUITE, packages=packages) if packages else None
    return Recipe(name=name, make=_copy, packages=wanted, needs=needs, space=0)


def _install(keys: Path) -> None:
    apt.KEYS = keys
    apt.TIMEOUT, apt.RETRIES = 1, 0
    recipes = (
        _recipe("tool", "tool"),
        _recipe("root", "base", "extra", needs=("tool",)),
        _recipe("disk-a", needs=("root", "tool")),
        _recipe("disk-b", needs=("root",)),
    )
    for table in (catalogue.RECIPES, catalogue.GUESTS):
        assert isinstance(table, dict)
        table.clear()
        table.update({each.name: each for each in recipes})


if __name__ == "__main__":
    _install(Path(sys.argv.pop(1)))
    program()
