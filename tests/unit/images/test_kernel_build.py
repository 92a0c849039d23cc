"""Kernels from source: a configuration that the source does not support is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.images import kernel_build, lock
from foothold_lab.images.cache import Cache
from foothold_lab.images.catalogue import GUESTS, RECIPES
from foothold_lab.images.errors import ImageError
from foothold_lab.images.kernel_build import CONFIG, build_tree, recipe
from foothold_lab.images.progress import no_progress


def given(*lines: str) -> str:
    """Return a .config as make writes it, with these lines added."""
    return CONFIG.read_text() + "\n".join(lines)


@pytest.mark.parametrize(
    "line, result",
    [
        ("CONFIG_SYSVIPC=y", "CONFIG_SYSVIPC=y"),
        ("# CONFIG_INET is not set", "# CONFIG_INET is not set"),
        ("CONFIG_INET=n", ""),  # what another option hides is not written down
        ('CONFIG_SSL_CHAN="null"', 'CONFIG_SSL_CHAN="null"'),
    ],
)
def test_accepts_a_configuration_that_was_applied(line: str, result: str) -> None:
    kernel_build._check(f"{CONFIG.read_text()}\n{line}\n", given(result))


@pytest.mark.parametrize(
    "line, result",
    [
        ("CONFIG_NO_SUCH_THING=y", ""),
        ("CONFIG_SMP=y", "# CONFIG_SMP is not set"),
        ("# CONFIG_MMU is not set", "CONFIG_MMU=y"),
    ],
)
def test_rejects_a_configuration_that_was_not_applied(line: str, result: str) -> None:
    with pytest.raises(ImageError, match="the kernel source ignored") as error:
        kernel_build._check(f"{CONFIG.read_text()}\n{line}\n", given(result))
    assert line in str(error.value)


def test_the_last_line_of_an_option_counts() -> None:
    wanted = "CONFIG_SYSVIPC=y\n# CONFIG_SYSVIPC is not set\n"
    kernel_build._check(wanted, "# CONFIG_SYSVIPC is not set\n")
    with pytest.raises(ImageError):
        kernel_build._check(wanted, "CONFIG_SYSVIPC=y\n")


def test_only_optional_lines_may_be_ignored(tmp_path: Path) -> None:
    more = tmp_path / "config"
    more.write_text("CONFIG_INET=y\n")
    required = kernel_build._required(kernel_build._configuration(more))
    assert "CONFIG_HOSTFS=y" in required and "CONFIG_INET=y" in required
    assert "CONFIG_PROC_MEM_ALWAYS_FORCE" not in required
    assert "CONFIG_PROC_MEM_ALWAYS_FORCE=y" in kernel_build._configuration(None)


def test_rejects_a_release_without_source() -> None:
    with pytest.raises(ImageError, match=r"no source package of 6\.13") as error:
        recipe("6.13")
    assert "6.12" in error.value.remedy


def test_the_key_depends_on_the_configuration(tmp_path: Path) -> None:
    more = tmp_path / "config"
    more.write_text("CONFIG_INET=y\n")
    assert more in recipe("6.12", more).sources
    assert more not in recipe("6.12").sources


def test_a_new_configuration_keeps_the_compiler_of_the_object_files() -> None:
    tools = kernel_build.RECIPES["kernel-toolchain"]
    assert not {CONFIG, Path(kernel_build.__file__)} & set(tools.sources)
    assert set(recipe("6.12").sources) >= {CONFIG, Path(kernel_build.__file__)}


def test_kernels_are_built_on_request_from_locked_packages() -> None:
    assert not set(kernel_build.RECIPES) & set(GUESTS)
    assert set(kernel_build.RECIPES) <= set(RECIPES)
    known = lock.read(lock.TESTED).sets
    assert {each.packages.name for each in kernel_build.RECIPES.values() if each.packages} <= set(
        known
    )


@pytest.mark.parametrize(
    ("source", "mounts"),
    [
        ("static int __init mount_nodev_root(char *root_device_name)", True),  # 5.15 and later
        ("static int __init mount_block_root(char *name, int flags)", False),
    ],
)
def test_an_old_kernel_needs_the_block_layer_to_mount_a_root(
    source: str, mounts: bool, tmp_path: Path
) -> None:
    (tmp_path / "init").mkdir()
    (tmp_path / "init/do_mounts.c").write_text(source)
    assert kernel_build._mounts_any_root(tmp_path) is mounts


class FakeBuilder:
    """Refuses to build the tools: a tree must be checked before."""

    def __init__(self, root: Path) -> None:
        self.cache = Cache(root)

    def image(self, name: str) -> Path:
        raise AssertionError(name)

    def progress(self, what: str, /, *, transient: bool = False) -> None:
        raise AssertionError(what)


def test_rejects_a_directory_that_is_not_a_kernel_source(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"has no arch/um/Kconfig"):
        build_tree(tmp_path, None, FakeBuilder(tmp_path / "cache"))


def test_says_how_to_clean_a_tree_that_was_built_in(tmp_path: Path) -> None:
    """A program that answers as the kernel's make does in such a tree."""
    program = tmp_path / "usr/bin/make"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho '*** The source tree is not clean, please run'\nexit 2\n")
    program.chmod(0o755)
    make = kernel_build._Make(
        tools=tmp_path, tree=tmp_path / "linux", build=tmp_path / "build",
        objects=tmp_path / "ccache", name="linux", progress=no_progress,
    )  # fmt: skip
    with pytest.raises(ImageError, match="was built in before") as error:
        make("allnoconfig")
    assert f"make -C {tmp_path}/linux ARCH=um mrproper" in error.value.remedy
