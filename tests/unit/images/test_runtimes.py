"""Images of runtimes: what is copied out of packages, and the disks made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import disks, runtimes
from images.catalogue import GUESTS, RECIPES
from images.errors import ImageError


def test_a_link_that_leaves_the_tree_becomes_what_it_names(tmp_path: Path) -> None:
    """As in Debian's OpenJDK, conf/x -> /etc/java-25-openjdk/x; never one of this machine."""
    packages, out = tmp_path / "packages", tmp_path / "out"
    tree = packages / "usr/lib/jdk/conf"
    tree.mkdir(parents=True)
    (packages / "etc/jdk").mkdir(parents=True)
    (packages / "etc/jdk/net.properties").write_text("a=b\n")
    (packages / "usr/lib/jdk/own").write_text("own\n")
    (tree / "net.properties").symlink_to("/etc/jdk/net.properties")
    (tree / "again").symlink_to("../../../../etc/jdk/net.properties")
    (tree / "within").symlink_to("../own")
    (tree / "ours").symlink_to("/etc/passwd")
    runtimes._copy_tree(packages, "usr/lib/jdk", out)
    copied = out / "usr/lib/jdk/conf"
    assert sorted(each.name for each in copied.iterdir()) == ["again", "net.properties", "within"]
    assert (copied / "net.properties").read_text() == (copied / "again").read_text() == "a=b\n"
    assert not (copied / "again").is_symlink()
    assert (copied / "within").readlink() == Path("../own")


def test_a_compiler_that_fails_is_quoted() -> None:
    with pytest.raises(ImageError, match=r"x\.c does not compile: no such thing"):
        runtimes._run(["/bin/sh", "-c", "echo no such thing >&2; exit 1"], "x.c does not compile")


def test_a_compiler_gets_nothing_of_this_machines_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFLAGS", "-march=native")
    runtimes._run(["/usr/bin/env"], "env", GOROOT=tmp_path)
    told = tmp_path / "told"
    runtimes._run(["/bin/sh", "-c", f"/usr/bin/env > {told}"], "env", GOROOT=tmp_path)
    names = {line.partition("=")[0] for line in told.read_text().splitlines()}
    assert "GOROOT" in names
    assert "CFLAGS" not in names


def test_every_runtime_has_a_disk_and_the_guests_kernel_its_modules() -> None:
    for recipe in runtimes.RUNTIMES:
        disk = RECIPES[disks.DISK + recipe.name]
        assert disk.needs == (recipe.name, disks.TYPE)
    assert RECIPES[disks.MODULES].packages == GUESTS["cloud-x86_64"].packages


def test_modules_are_loaded_in_order(tmp_path: Path) -> None:
    for name in ("squashfs.ko.xz", "virtio_blk.ko.xz"):
        (tmp_path / name).touch()
    assert [each.name for each in disks.modules(tmp_path)] == ["virtio_blk.ko.xz", "squashfs.ko.xz"]
