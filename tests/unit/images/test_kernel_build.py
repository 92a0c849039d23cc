"""Kernels from source: what is asked of a configuration and not to be had is told, not built."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.images import kernel_build, lock
from foothold_lab.images.catalogue import GUESTS, RECIPES
from foothold_lab.images.errors import ImageError
from foothold_lab.images.kernel_build import CONFIG, recipe


def given(*lines: str) -> str:
    """What make has made of our configuration, with other lines at its end."""
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
def test_a_configuration_that_was_taken(line: str, result: str) -> None:
    kernel_build._check(f"{CONFIG.read_text()}\n{line}\n", given(result))


@pytest.mark.parametrize(
    "line, result",
    [
        ("CONFIG_NO_SUCH_THING=y", ""),
        ("CONFIG_SMP=y", "# CONFIG_SMP is not set"),
        ("# CONFIG_MMU is not set", "CONFIG_MMU=y"),
    ],
)
def test_a_configuration_that_was_not(line: str, result: str) -> None:
    with pytest.raises(ImageError, match="cannot be configured so") as error:
        kernel_build._check(f"{CONFIG.read_text()}\n{line}\n", given(result))
    assert line in str(error.value)


def test_the_last_line_about_an_option_counts() -> None:
    wanted = "CONFIG_SYSVIPC=y\n# CONFIG_SYSVIPC is not set\n"
    kernel_build._check(wanted, "# CONFIG_SYSVIPC is not set\n")
    with pytest.raises(ImageError):
        kernel_build._check(wanted, "CONFIG_SYSVIPC=y\n")


def test_a_release_without_source() -> None:
    with pytest.raises(ImageError, match=r"there is no source of 6\.13") as error:
        recipe("6.13")
    assert "6.12" in error.value.remedy


def test_a_configuration_is_part_of_what_is_built(tmp_path: Path) -> None:
    more = tmp_path / "config"
    more.write_text("CONFIG_INET=y\n")
    assert more in recipe("6.12", more).sources
    assert more not in recipe("6.12").sources


def test_they_are_built_on_request_and_their_packages_are_locked() -> None:
    assert not set(kernel_build.RECIPES) & set(GUESTS)
    assert set(kernel_build.RECIPES) <= set(RECIPES)
    known = lock.read(lock.TESTED).sets
    assert {each.packages.name for each in kernel_build.RECIPES.values() if each.packages} <= set(
        known
    )
