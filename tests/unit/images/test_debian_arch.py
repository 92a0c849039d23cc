"""Debian's architectures: every image consists of packages of its architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.catalogue import RECIPES
from foothold_lab.images.debian_arch import AMD64, ARM64, PORTS, Port
from foothold_lab.images.elf import LITTLE_ENDIAN_64, MACHINES
from foothold_lab.images.errors import ImageError
from foothold_lab.images.kernels import make_kernel
from foothold_lab.images.recipes import Materials, Recipe


@pytest.mark.parametrize("port", PORTS.values(), ids=lambda port: port.name)
def test_every_architecture_has_compiler_agent_and_root(port: Port) -> None:
    assert port.machine in {*MACHINES.values(), *LITTLE_ENDIAN_64.values()}
    for kind in ("agent", "userland", "root"):
        recipe = RECIPES[port.image(kind)]
        assert recipe.port is port
    userland = RECIPES[port.image("userland")]
    assert userland.packages
    assert (userland.packages.architecture, userland.packages.suite) == (port.name, port.suite)
    assert (port.emulators in userland.needs) == port.foreign
    native = port.foreign and port.suite == AMD64.suite
    assert (AMD64.image("userland") in userland.needs) == native


def test_a_changed_agent_does_not_rebuild_the_userland() -> None:
    for port in PORTS.values():
        assert port.image("agent") not in RECIPES[port.image("userland")].needs
        assert port.image("agent") in RECIPES[port.image("root")].needs


def test_an_image_belongs_to_one_architecture(tmp_path: Path) -> None:
    def make(materials: Materials, out: Path) -> None:
        (out / "for").write_text(materials.port.name)

    def built(port: Port) -> Path:
        recipe = Recipe(name="x", make=make, port=port, space=0)
        return Builder(Cache(tmp_path), recipes={"x": recipe}).image("x")

    assert built(AMD64) != built(ARM64)
    assert (built(ARM64) / "for").read_text() == "arm64"
    assert built(replace(ARM64, suite="trixie")) != built(ARM64)


@pytest.mark.parametrize(
    "place", ["boot/vmlinuz-6.1.0-9-arm64", "usr/lib/modules/6.1.0-9-arm64/vmlinuz"]
)
def test_finds_the_kernel_in_both_package_layouts(tmp_path: Path, place: str) -> None:
    packages, out = tmp_path / "packages", tmp_path / "out"
    out.mkdir()
    for name in (
        place,
        "lib/modules/6.1.0-9-arm64/virtio_ring.ko",
        "lib/modules/x/virtio.ko",
        "lib/modules/x/other.ko",
    ):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_bytes(b"ARM")
    make_kernel(Materials(packages=packages, images={}, target=out, port=ARM64), out)
    assert (out / "kernel").read_bytes() == b"ARM"
    assert (out / "release").read_text() == "6.1.0-9-arm64\n"
    assert (out / "modules/order").read_text() == "/modules/virtio.ko\n/modules/virtio_ring.ko\n"


def test_reports_packages_without_a_kernel(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="have 0 kernels instead of one"):
        make_kernel(Materials(packages=tmp_path, images={}, target=tmp_path, port=ARM64), tmp_path)
