"""The choice of the Debian archive: by the user, or by the apt configuration of Debian alone."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from foothold_lab.images import apt, mirror
from foothold_lab.images.errors import ImageError
from foothold_lab.images.mirror import (
    CHOOSE_MIRROR,
    NoMirror,
    debian_archive,
    find_mirror,
    remember_mirror,
)

UBUNTU = [
    "Ubuntu|noble|main|/usr/share/keyrings/ubuntu-archive-keyring.gpg|http://one.example/ubuntu/",
    "|noble-updates|main|/usr/share/keyrings/ubuntu-archive-keyring.gpg|http://one.example/ubuntu/",
    # archives of other distributors, whose suites are named like Debian's
    "|stable|main||http://two.example/browser",
    "Docker|bookworm|stable||http://three.example/linux/debian",
]
VENDOR = "|bookworm|main|/etc/apt/keyrings/vendor.gpg|http://vendor.example/debian"
UNKNOWN = (
    "|bookworm|main|/usr/share/keyrings/debian-archive-keyring.gpg|http://good.example/debian/"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a configuration, on a machine whose apt has no Debian archive."""
    monkeypatch.delenv("FOOTHOLD_MIRROR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(mirror, "_mirror_of_apt", lambda: "")
    return tmp_path


def test_ubuntus_suites_are_not_debians() -> None:
    assert debian_archive(UBUNTU, on_debian=False) == ""
    assert debian_archive([UNKNOWN], on_debian=False) == ""


def test_finds_the_archive_of_debian() -> None:
    updated = "Debian|bookworm|main||http://updated.example/debian/"
    assert debian_archive([VENDOR, updated], on_debian=True) == "http://updated.example/debian"
    assert debian_archive([updated], on_debian=False) == "http://updated.example/debian"


def test_before_the_first_update_the_archive_of_debians_keyring_is_preferred() -> None:
    assert debian_archive([VENDOR, UNKNOWN], on_debian=True) == "http://good.example/debian"
    assert debian_archive([VENDOR], on_debian=True) == "http://vendor.example/debian"


def test_security_and_backports_are_not_the_archive() -> None:
    for suite in ("bookworm-security", "bookworm-backports", "bookworm-updates"):
        assert debian_archive([f"Debian|{suite}|main||http://x.example"], on_debian=True) == ""


def test_the_variable_precedes_the_configuration_and_that_precedes_apt(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_mirror_of_apt", lambda: "http://apt.example/debian")
    assert find_mirror().url == "http://apt.example/debian"
    file = remember_mirror("http://chosen.example/debian")
    assert file == home / "foothold/config.toml"
    assert find_mirror().url == "http://chosen.example/debian"
    monkeypatch.setenv("FOOTHOLD_MIRROR", "http://variable.example/debian/")
    assert find_mirror().url == "http://variable.example/debian"


def test_a_new_mirror_replaces_the_old_one_and_nothing_else(home: Path) -> None:
    file = remember_mirror("http://old.example")
    file.write_text(file.read_text() + "\n[other]\nkey = 1\n")
    remember_mirror("http://new.example")
    assert file.read_text() == 'mirror = "http://new.example"\n\n[other]\nkey = 1\n'


def test_without_a_mirror_the_remedy_is_to_choose_one(home: Path) -> None:
    with pytest.raises(NoMirror) as error:
        find_mirror()
    assert error.value.remedy == CHOOSE_MIRROR


@pytest.mark.parametrize("url", ["debian", "ftp://x.example", "http://", "http://x.example/a b"])
def test_rejects_an_address_that_apt_cannot_use(
    url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTHOLD_MIRROR", url)
    with pytest.raises(NoMirror, match="FOOTHOLD_MIRROR is"):
        find_mirror()


@pytest.mark.parametrize("text", ["mirror = 3", "mirror ="])
def test_names_a_damaged_configuration(text: str, home: Path) -> None:
    remember_mirror("http://x.example").write_text(text)
    with pytest.raises(ImageError, match=re.escape("config.toml")):
        find_mirror()


def test_the_keys_are_those_of_the_package_that_is_named() -> None:
    [keyring] = apt.KEYS.glob("*.gpg")
    found = hashlib.sha256(keyring.read_bytes()).hexdigest()
    assert found in (apt.KEYS / "README.md").read_text()


def test_says_why_apt_cannot_read_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho E: no status file >&2; exit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("FOOTHOLD_MIRROR", raising=False)
    mirror._mirror_of_apt.cache_clear()
    with pytest.raises(NoMirror, match="indextargets` failed: E: no status file"):
        find_mirror()
