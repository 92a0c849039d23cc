"""Packages of npm: found by their hash, unpacked, and the lock of both registries."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.images import npm, registry, wheels
from foothold_lab.images.catalogue import RECIPES
from foothold_lab.images.errors import ImageError
from foothold_lab.images.npm import NpmPackage
from foothold_lab.images.progress import no_progress


def made(directory: Path, name: str = "package/bin/program") -> NpmPackage:
    """A package with one program, as npm has downloaded it."""
    directory.mkdir()
    path = directory / "nosuchscope-nosuchprogram-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.mode = 7, 0o755
        archive.addfile(member, io.BytesIO(b"content"))
    data = path.read_bytes()
    return NpmPackage(
        name="@nosuchscope/nosuchprogram",
        version="1.0.0",
        size=len(data),
        sha512=hashlib.sha512(data).hexdigest(),
    )


def test_uses_a_downloaded_package_and_unpacks_it(tmp_path: Path) -> None:
    package = made(tmp_path / "files")
    registry.install(package, tmp_path / "files", tmp_path / "tree", no_progress)
    program = tmp_path / "tree/package/bin/program"
    assert (program.read_text(), program.stat().st_mode & 0o777) == ("content", 0o755)


def test_does_not_use_a_package_with_another_hash(tmp_path: Path) -> None:
    package = made(tmp_path / "files")
    assert npm.find(package, tmp_path / "files")
    assert npm.find(replace(package, sha512="0" * 128), tmp_path / "files") is None
    assert npm.find(replace(package, size=1), tmp_path / "files") is None


@pytest.mark.parametrize("name", ["/etc/passwd", "package/../../program"])
def test_rejects_a_file_outside_of_the_tree(tmp_path: Path, name: str) -> None:
    package = made(tmp_path / "files", name)
    with pytest.raises(ImageError, match="outside of its directory"):
        npm.unpack([tmp_path / "files" / package.file], tmp_path / "tree")
    assert not list(tmp_path.rglob("program"))


def test_names_the_remedy_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = made(tmp_path / "elsewhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="npm is not installed") as raised:
        npm.fetch(package, tmp_path / "files", no_progress)
    assert package.file in (raised.value.remedy or "")


@pytest.mark.parametrize(
    ("answer", "message"),
    [("exit 1", "npm cannot download"), ('echo other > "$5/$FILE"', "its hash is not the locked")],
)
def test_reports_what_npm_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, message: str
) -> None:
    """A program in place of npm fails, or stores another file."""
    package = made(tmp_path / "elsewhere")
    program = tmp_path / "npm"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("FILE", package.file)
    with pytest.raises(ImageError, match=message):
        npm.fetch(package, tmp_path / "files", no_progress)
    assert not list((tmp_path / "files").iterdir())


def test_every_locked_file_belongs_to_an_image_and_names_no_host() -> None:
    lock = registry.lock()
    assert set(lock.wheels) | set(lock.npm) <= set(RECIPES)
    assert not re.search(r"https?:|\.(org|com|io|dev)\b", registry.LOCK.read_text())
    for image in (*lock.wheels, *lock.npm):
        for file in registry.files_of(image):
            assert re.fullmatch(r"[0-9a-f]+", registry.digest(file))
            assert len(registry.digest(file)) == (64 if isinstance(file, wheels.Wheel) else 128)


def test_an_image_of_debian_packages_has_no_locked_file() -> None:
    assert registry.files_of("go") == ()
