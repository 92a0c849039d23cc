"""The version comes from the tag of a release, wherever Foothold is built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="no git here")

ROOT = Path(__file__).parents[2]
IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")


def run(directory: Path, *argv: str) -> str:
    done = subprocess.run(
        argv, cwd=directory, capture_output=True, text=True, timeout=120, check=False,
        # no settings of git but those of the repository, and no repository above the directory
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CEILING_DIRECTORIES": str(directory.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def git(directory: Path, *words: str) -> str:
    return run(directory, "git", *IDENTITY, *words)


def version(directory: Path) -> str:
    return run(directory, sys.executable, "-m", "hatchling", "version")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A small checkout with the build settings of this one, without git."""
    directory = tmp_path / "checkout"
    for name in ("README.md", "LICENSE", "pyproject.toml", ".gitignore"):
        directory.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, directory / name)
    for name in ("src/foothold_lab", "harness", "allocator", "images", "plans"):
        (directory / name).mkdir(parents=True)
        (directory / name / "__init__.py").touch()
    shutil.copy(ROOT / "harness/__init__.py", directory / "harness")
    return directory


@pytest.fixture
def repository(sources: Path) -> Path:
    git(sources, "init", "-q")
    git(sources, "add", ".")
    git(sources, "commit", "-q", "-m", "first")
    return sources


def test_a_tag_is_the_version(repository: Path) -> None:
    git(repository, "tag", "v1.2.0")
    assert version(repository) == "1.2.0"
    (repository / "new").touch()
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "second")
    assert re.fullmatch(r"1\.2\.1\.dev1\+g[0-9a-f]+", version(repository))


def test_a_checkout_without_tags_has_a_version_before_the_first_release(repository: Path) -> None:
    assert re.fullmatch(r"0\.0\.1\.dev1\+g[0-9a-f]+", version(repository))


def test_sources_without_git_have_a_version(sources: Path) -> None:
    assert version(sources) == "0.0.0"


def test_a_source_archive_keeps_its_version(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "v1.2.0")
    run(repository, sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path))
    with tarfile.open(tmp_path / "foothold_lab-1.2.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / "foothold_lab-1.2.0"
    assert not (unpacked / ".git").exists()
    assert version(unpacked) == "1.2.0"
    run(unpacked, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert (tmp_path / "foothold_lab-1.2.0-py3-none-any.whl").exists()


def test_an_installed_package_knows_its_version(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "v1.2.0")
    run(repository, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    [wheel] = tmp_path.glob("*.whl")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import foothold_lab.harness as h; print(h.__version__)"
    assert run(tmp_path, sys.executable, "-S", "-c", code, str(wheel)) == "1.2.0"
