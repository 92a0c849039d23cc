"""The parts of Foothold's own apt that need no network."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.images import own_apt
from foothold_lab.images.errors import ImageError, WrongPackage
from foothold_lab.images.mirror import CHOOSE_MIRROR
from foothold_lab.images.own_apt import ArchiveFile


def test_the_lock_names_every_program_and_its_libc() -> None:
    names = {file.path.rpartition("/")[2].partition("_")[0] for file in own_apt.locked_files()}
    assert names > {*own_apt.PACKAGES, "libc6", "libgnutls30"}


@pytest.mark.parametrize("path", ["/etc/passwd", "pool/main/../../x.deb", "pool/main/a/x.tar"])
def test_rejects_a_path_that_is_not_of_a_package(path: str) -> None:
    with pytest.raises(ValueError, match="not the path of a package"):
        ArchiveFile(path=path, size=1, sha256="")


def test_refuses_a_file_with_another_hash(tmp_path: Path) -> None:
    file = replace(own_apt.locked_files()[0], size=5)
    place = tmp_path / file.path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"wrong")
    with pytest.raises(WrongPackage, match="not the package of the lock"):
        own_apt._download(f"file://{tmp_path}", file)


def test_a_mirror_without_the_file_is_replaced_by_another(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file") as error:
        own_apt._download(f"file://{tmp_path}", own_apt.locked_files()[0])
    assert error.value.remedy == CHOOSE_MIRROR


def test_verifies_with_the_given_keys_alone(tmp_path: Path) -> None:
    """A gpgv that prints its arguments: which keyrings, status descriptor, and files."""
    keys = tmp_path / "my keys"
    keys.mkdir()
    (keys / "one.gpg").touch()
    for name, text in (("apt-key", own_apt._APT_KEY), ("gpgv", '#!/bin/sh\nprintf "%s\\n" "$@"\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    argv = [tmp_path / "apt-key", "--quiet", "--readonly", "verify", "--status-fd", "3", "a", "b"]
    variables = {**os.environ, "FOOTHOLD_ARCHIVE_KEYS": str(keys)}
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "--ignore-time-conflict", "--keyring", str(keys / "one.gpg"), "--status-fd", "3", "a", "b",
    ]  # fmt: skip


def test_does_not_verify_without_keys(tmp_path: Path) -> None:
    (tmp_path / "apt-key").write_text(own_apt._APT_KEY)
    variables = {key: value for key, value in os.environ.items() if key != "FOOTHOLD_ARCHIVE_KEYS"}
    argv = ["sh", tmp_path / "apt-key", "verify", "--status-fd", "3", "a", "b"]
    assert subprocess.run(argv, env=variables, capture_output=True, check=False).returncode != 0
