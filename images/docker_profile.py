"""Docker's default seccomp profile, from the sources of Docker that Debian packages."""

from __future__ import annotations

import shutil
from pathlib import Path

from foothold_lab.images.apt import PackageSet
from foothold_lab.images.recipes import MIB, Materials, Recipe

_SOURCES = "golang-github-docker-docker-dev"
_DIRECTORY = "usr/share/gocode/src/github.com/docker/docker/profiles/seccomp"


def make_docker_profile(materials: Materials, out: Path) -> None:
    """Copy the profile."""
    shutil.copy2(materials.packages / _DIRECTORY / "default.json", out)


DOCKER_PROFILE = Recipe(
    name="docker-seccomp-profile",
    make=make_docker_profile,
    packages=PackageSet(suite="trixie", packages=(_SOURCES,), only=(_SOURCES,)),
    sources=(Path(__file__),),
    space=10 * MIB,
)
