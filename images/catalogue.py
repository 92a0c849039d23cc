"""All images by name: the registry that the builder is given. Adding one rebuilds no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from images import disks, fromsource, initramfs, recipes, runtimes
from images.apt import PackageSet
from images.recipes import (
    AGENT,
    MIB,
    SHIM,
    Recipe,
    make_agent,
    make_cloud_kernel,
    make_initrd,
    make_root,
    make_shim,
    make_tool,
    make_uml,
)  # fmt: skip

HERE = Path(recipes.__file__)


def _uml(suite: str) -> Recipe:
    packages = PackageSet(suite, ("user-mode-linux",), only=("user-mode-linux", "libc6"))
    return Recipe(f"uml-{suite}", make_uml, packages)


GUESTS: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("toolchain", make_tool, PackageSet("bookworm", ("gcc-12", "libc6-dev")),
               space=700 * MIB),
        Recipe("agent", make_agent, needs=("toolchain",), space=4 * MIB,
               sources=(HERE, *sorted(AGENT.glob("*.[ch]")))),
        Recipe("shim", make_shim, needs=("toolchain",), space=4 * MIB,
               sources=(HERE, *sorted(SHIM.glob("*.c")))),
        Recipe("root", make_root,
               PackageSet("bookworm", ("python3-minimal", "libpython3-stdlib", "busybox-static",
                                       "dropbear-bin", "openssh-sftp-server", "strace")),
               needs=("agent",)),
        Recipe("strace", make_tool, PackageSet("bookworm", ("strace",)), space=60 * MIB),
        Recipe("qemu-x86_64", make_tool, PackageSet("bookworm", ("qemu-system-x86",)),
               space=600 * MIB),
        Recipe("cloud-x86_64", make_cloud_kernel,
               PackageSet("bookworm", ("linux-image-cloud-amd64",), only=(r"linux-image-6.*",)),
               sources=(HERE, Path(initramfs.__file__))),
        Recipe("initrd-x86_64", make_initrd, needs=("root", "cloud-x86_64"), space=60 * MIB,
               sources=(HERE, Path(initramfs.__file__))),
        _uml("bookworm"), _uml("trixie"), _uml("forky"),
    )
}  # fmt: skip
RECIPES: Mapping[str, Recipe] = {
    **GUESTS,
    **fromsource.RECIPES,
    **runtimes.RECIPES,
    **disks.recipes(runtimes.RUNTIMES, GUESTS["cloud-x86_64"]),
}
