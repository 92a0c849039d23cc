"""The Debian archive that packages are downloaded from.

The first of these that exists: $FOOTHOLD_MIRROR, the user's configuration (`foothold setup --mirror`),
the apt configuration of this machine if it names an archive of Debian itself.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from foothold_lab.images.errors import ImageError

VARIABLE = "FOOTHOLD_MIRROR"
# the only remedy for a machine without a usable archive, in every command
CHOOSE_MIRROR = (
    "choose a Debian mirror with `foothold setup --mirror URL`, or set FOOTHOLD_MIRROR; "
    "Debian's web site lists the mirrors"
)
_KEY = "mirror"  # in the user's configuration
_SUITES = frozenset(
    ("bullseye", "bookworm", "trixie", "forky", "sid",
     "oldoldstable", "oldstable", "stable", "testing", "unstable")
)  # fmt: skip
_FIELDS = "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
_UNKNOWN = "$("  # apt leaves a field as it is if it does not know it


class NoMirror(ImageError):
    """No Debian archive is known, or the known one cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, CHOOSE_MIRROR)


@dataclass(frozen=True)
class Mirror:
    """The address of a Debian archive, without a slash at its end, and what chose it."""

    url: str
    chosen_by: str


def find_mirror() -> Mirror:
    """Return the archive to use. Raises NoMirror without one, ImageError for a damaged configuration."""
    if url := os.environ.get(VARIABLE):
        return Mirror(check_address(url, VARIABLE), VARIABLE)
    file = configuration_file()
    if file and (url := _configured(file)):
        return Mirror(check_address(url, str(file)), str(file))
    if url := _mirror_of_apt():
        return Mirror(url, "the apt configuration of this machine")
    if shutil.which("apt-get"):
        raise NoMirror("the apt configuration of this machine has no Debian archive")
    raise NoMirror("this machine has no apt configuration that names a Debian archive")


def configuration_file() -> Path | None:
    """Return the path of the user's configuration, None for a user without a home directory."""
    if home := os.environ.get("XDG_CONFIG_HOME"):
        return Path(home).absolute() / "foothold/config.toml"
    try:
        return Path.home().absolute() / ".config/foothold/config.toml"
    except RuntimeError:
        return None


def remember_mirror(url: str) -> Path:
    """Write a mirror into the user's configuration, and return that file. Raises ImageError."""
    file = configuration_file()
    if file is None:
        raise ImageError(
            "this user has no home directory, where the configuration would be",
            "set HOME, or XDG_CONFIG_HOME, to a directory",
        )
    lines = [] if not file.exists() else file.read_text().splitlines()
    kept = [line for line in lines if not re.match(rf"\s*{_KEY}\s*=", line)]
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # a string of TOML is one of JSON; settings precede tables
        fresh.write_text("\n".join([f"{_KEY} = {json.dumps(url)}", *kept]) + "\n")
        fresh.replace(file)
    except OSError as error:
        raise ImageError(
            f"cannot write {file}: {error.strerror}", f"set {VARIABLE} instead"
        ) from error
    return file


def _configured(file: Path) -> str:
    """Return the mirror of the user's configuration, empty without one."""
    try:
        settings = tomllib.loads(file.read_text())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise ImageError(f"{file} cannot be read: {error}", "correct or remove it") from error
    url = settings.get(_KEY, "")
    if not isinstance(url, str):
        raise ImageError(f"{file}: {_KEY} is not a string", f'write {_KEY} = "URL"')
    return url


def check_address(url: str, where: str) -> str:
    """Return a URL without the slash at its end. Raises NoMirror if apt could not use it."""
    parts = urlsplit(url)
    usable = (parts.scheme in ("http", "https") and parts.netloc) or parts.scheme == "file"
    # a blank would end the address in a line of sources.list
    if not usable or re.search(r"[\s\[\]]", url):
        raise NoMirror(f"{where} is {url!r}, which is not an http, https or file URL")
    return url.rstrip("/")


@functools.cache
def _mirror_of_apt() -> str:
    """Return the first Debian archive of the apt configuration of this machine, empty without one.
    Raises NoMirror if apt cannot read its configuration.
    """
    on_debian = _is_debian(Path("/etc/os-release"))
    # before the first `apt-get update`, targets are listed only without the origin
    return debian_archive(_targets(), on_debian=on_debian) or debian_archive(
        _targets("--no-release-info"), on_debian=on_debian
    )


def _targets(*options: str) -> list[str]:
    """Return the index targets of apt (`_FIELDS`), empty without apt. Raises NoMirror."""
    argv = ["apt-get", "indextargets", *options, "--format", _FIELDS]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    except FileNotFoundError:
        return []
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise NoMirror(f"`apt-get indextargets` failed: {said.strip()}") from error
    return done.stdout.splitlines()


def debian_archive(targets: Iterable[str], *, on_debian: bool) -> str:
    """Return the archive of Debian itself among index targets (`_FIELDS`), empty without one.

    Before the first `apt-get update` apt does not know the origin of an archive. Other distributors
    have suites of the same names (`stable`, and `bookworm` in their archives for Debian). So an
    unknown archive counts only on Debian.
    """
    unknown = []
    for line in targets:
        origin, release, component, url = line.split("|", 3)
        if release not in _SUITES or component != "main" or not url:
            continue
        if origin == "Debian":
            return url.rstrip("/")
        if on_debian and origin.startswith(_UNKNOWN):
            unknown.append(url.rstrip("/"))
    return unknown[0] if unknown else ""


def _is_debian(release: Path) -> bool:
    try:
        return bool(re.search(r"^ID=[\"']?debian[\"']?$", release.read_text(), re.MULTILINE))
    except OSError:
        return False
