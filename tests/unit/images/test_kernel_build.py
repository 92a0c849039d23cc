"""Kernels from source: a configuration that the source does not support is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.images import kernel_build, lock
from foothold_lab.images.catalogue import GUESTS, RECIPES
from foothold_lab.images.errors import ImageError
from foothold_lab.images.kernel_build import CONFIG, recipe


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


def test_rejects_a_release_without_source() -> None:
    with pytest.raises(ImageError, match=r"no source package of 6\.13") as error:
        recipe("6.13")
    assert "6.12" in error.value.remedy


def test_the_key_depends_on_the_configuration(tmp_path: Path) -> None:
    more = tmp_path / "config"
    more.write_text("CONFIG_INET=y\n")
    assert more in recipe("6.12", more).sources
    assert more not in recipe("6.12").sources


def test_kernels_are_built_on_request_from_locked_packages() -> None:
    assert not set(kernel_build.RECIPES) & set(GUESTS)
    assert set(kernel_build.RECIPES) <= set(RECIPES)
    known = lock.read(lock.TESTED).sets
    assert {each.packages.name for each in kernel_build.RECIPES.values() if each.packages} <= set(
        known
    )
