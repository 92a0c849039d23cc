"""The allocator's bytecode is made by the Python that is to run it."""

from __future__ import annotations

import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from foothold_lab.allocator import boot
from foothold_lab.harness.subjects import bytecode
from foothold_lab.images import rootfs
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.debian_arch import AMD64, Port
from foothold_lab.images.recipes import Materials, Recipe


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    """Has a userland whose Python is not there, but has a name."""

    def make(materials: Materials, out: Path) -> None:
        (out / "usr/bin").mkdir(parents=True)
        (out / "usr/bin/python3").symlink_to((tmp_path / "version").read_text())

    recipe = Recipe(name="userland", make=make, space=0)
    return Builder(Cache(tmp_path / "cache"), recipes={"userland": recipe})


def test_our_own_serves_a_root_with_the_same_python(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "version").write_text(f"python3.{sys.version_info.minor}")
    [ours] = bytecode.for_guest(AMD64, builder)
    assert ours.name == boot.bytecode_name(MAGIC_NUMBER)
    assert bytecode.for_guest(AMD64, builder) == bytecode.for_guest(None, builder) == (ours,)


def test_another_python_makes_its_own_once(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def run(port: Port, root: Path, emulators: Path | None, *argv: str, path: str) -> str:
        asked.append(argv)
        assert (Path(path) / "allocator/bundle.py").is_file()
        (Path(argv[-1]) / "bytecode-01020304").write_bytes(b"code")
        return ""

    monkeypatch.setattr(rootfs, "run_python", run)
    (tmp_path / "version").write_text("python3.99")
    [one] = bytecode.for_guest(AMD64, builder)
    assert (one.name, one.read_bytes()) == ("bytecode-01020304", b"code")
    assert bytecode.for_guest(AMD64, builder) == (one,)
    assert len(asked) == 1
