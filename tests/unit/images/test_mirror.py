"""The choice of the Debian archive: by the user, or by the apt configuration of Debian alone."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from foothold_lab.images import apt, mirror, own_apt
from foothold_lab.images.errors import ImageError
from foothold_lab.images.mirror import (
    CHOOSE_MIRROR,
    NoMirror,
    debian_archive,
    find_mirror,
    remember_mirror,
)

UBUNTU = [
    "Ubuntu|noble|main|http://one.example/ubuntu/",
    "$(ORIGIN)|noble-updates|main|http://one.example/ubuntu/",
    # archives of other distributors, whose suites are named like Debian's
    "$(ORIGIN)|stable|main|http://two.example/browser",
    "Docker|bookworm|stable|http://three.example/linux/debian",
]
UNKNOWN = "$(ORIGIN)|bookworm|main|http://good.example/debian/"


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
    vendor = "Vendor|bookworm|main|http://vendor.example/debian"
    updated = "Debian|bookworm|main|http://updated.example/debian/"
    assert debian_archive([vendor, updated], on_debian=True) == "http://updated.example/debian"
    assert debian_archive([updated], on_debian=False) == "http://updated.example/debian"


@pytest.mark.skipif(not own_apt.host_has_apt(), reason="no apt is here")
def test_knows_the_archive_of_a_debian_before_its_first_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apt lists nothing then, unless it is asked to leave out what the archive says of itself."""
    assert debian_archive([UNKNOWN], on_debian=True) == "http://good.example/debian"
    (tmp_path / "lists/partial").mkdir(parents=True)
    (tmp_path / "sources.list").write_text("deb http://new.example/debian bookworm main\n")
    settings = tmp_path / "apt.conf"
    settings.write_text(
        f'Dir::Etc::SourceList "{tmp_path}/sources.list"; Dir::Etc::SourceParts "/dev/null";\n'
        f'Dir::State::Lists "{tmp_path}/lists";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(settings))
    monkeypatch.setattr(mirror, "_is_debian", lambda _: True)
    mirror._mirror_of_apt.cache_clear()
    try:
        assert mirror._mirror_of_apt() == "http://new.example/debian"
    finally:
        mirror._mirror_of_apt.cache_clear()


def test_security_and_backports_are_not_the_archive() -> None:
    for suite in ("bookworm-security", "bookworm-backports", "bookworm-updates"):
        assert debian_archive([f"Debian|{suite}|main|http://x.example"], on_debian=True) == ""


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
    mirror._mirror_of_apt.cache_clear()
