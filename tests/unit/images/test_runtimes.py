"""Images of runtimes, and their disks."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from foothold_lab.harness.guests.architectures import ARCHITECTURES
from foothold_lab.images import disks, runtimes
from foothold_lab.images.catalogue import RECIPES
from foothold_lab.images.debian_arch import AMD64, RISCV64
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import Materials


def test_a_link_out_of_the_tree_becomes_a_copy_of_its_target(tmp_path: Path) -> None:
    """As in Debian's OpenJDK: conf/x -> /etc/java-25-openjdk/x, never a file of this machine."""
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
    runtimes.copy_tree(packages, "usr/lib/jdk", out)
    copied = out / "usr/lib/jdk/conf"
    assert sorted(each.name for each in copied.iterdir()) == ["again", "net.properties", "within"]
    assert (copied / "net.properties").read_text() == (copied / "again").read_text() == "a=b\n"
    assert not (copied / "again").is_symlink()
    assert (copied / "within").readlink() == Path("../own")


def test_reports_the_compilers_message() -> None:
    with pytest.raises(ImageError, match=r"x\.c does not compile: no such thing"):
        runtimes.run_tool(
            ["/bin/sh", "-c", "echo no such thing >&2; exit 1"], "x.c does not compile"
        )


def test_a_compiler_does_not_inherit_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFLAGS", "-march=native")
    runtimes.run_tool(["/usr/bin/env"], "env", GOROOT=tmp_path)
    told = tmp_path / "told"
    runtimes.run_tool(["/bin/sh", "-c", f"/usr/bin/env > {told}"], "env", GOROOT=tmp_path)
    names = {line.partition("=")[0] for line in told.read_text().splitlines()}
    assert "GOROOT" in names
    assert "CFLAGS" not in names


def test_every_runtime_has_a_disk_and_every_kernel_its_modules() -> None:
    for recipe in runtimes.RUNTIMES:
        disk = RECIPES[disks.DISK + recipe.name]
        assert disk.needs == (recipe.name, disks.TYPE)
    for this in ARCHITECTURES:
        modules, kernel = RECIPES[disks.modules_image(this.kernel)].packages, RECIPES[this.kernel]
        assert modules
        assert kernel.packages
        apart = kernel.packages.suite == "forky"  # its kernels have their modules in a package
        assert (modules == kernel.packages) is not apart
        assert (modules.name == kernel.packages.name) is not apart  # or they would share a lock
        assert modules.index == kernel.packages.index


def test_modules_are_unpacked_and_loaded_in_order(tmp_path: Path) -> None:
    """The agent passes a module to the kernel unchanged, so it must not be compressed."""
    packages, out = tmp_path / "packages", tmp_path / "out"
    place = packages / "usr/lib/modules/7.2/kernel"
    place.mkdir(parents=True)
    out.mkdir()
    (place / "squashfs.ko.xz").write_bytes(lzma.compress(b"squash"))
    (place / "virtio_blk.ko").write_bytes(b"block")
    disks.make_modules(Materials(packages=packages, images={}, target=out), out)
    taken = disks.modules(out)
    assert [each.name for each in taken] == ["virtio_blk.ko", "squashfs.ko"]
    assert [each.read_bytes() for each in taken] == [b"block", b"squash"]


def test_every_architecture_has_the_same_runtimes_and_a_compiler() -> None:
    kinds = {recipe.name for recipe in runtimes.RUNTIMES if recipe.port is AMD64}
    for port in runtimes.PORTS:
        of_port = [recipe for recipe in runtimes.RUNTIMES if recipe.port is port]
        assert {recipe.name for recipe in of_port} == {port.image(kind) for kind in kinds}
        assert port.image(runtimes.COMPILER) in RECIPES
        compiled = {port.image(kind) for kind in ("go", "sanitizers")}  # perhaps by what runs here
        mine = [each.packages for each in of_port if each.packages and each.name not in compiled]
        assert {each.architecture for each in mine} == {port.name}


def test_a_foreign_program_starts_under_its_emulator(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    for port in (AMD64, RISCV64):
        (tmp_path / "lib" / Path(port.loader).name).touch()
    emulators = {"qemu-user": tmp_path / "emulators"}
    [loader, *words] = runtimes._command(
        Materials(packages=tmp_path, images={}, target=tmp_path),
        tmp_path / "java",
        [tmp_path / "lib"],
    )
    assert loader == tmp_path / "lib/ld-linux-x86-64.so.2"
    assert words == ["--library-path", f"{tmp_path}/lib", tmp_path / "java"]
    foreign = runtimes._command(
        Materials(packages=tmp_path, images=emulators, target=tmp_path, port=RISCV64),
        tmp_path / "java",
        [tmp_path / "lib"],
    )
    assert foreign[:2] == [
        tmp_path / "emulators/usr/bin/qemu-riscv64",
        tmp_path / "lib/ld-linux-riscv64-lp64d.so.1",
    ]
    assert foreign[2:] == words
