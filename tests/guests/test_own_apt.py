"""Foothold's own apt, as on a machine without apt, with an archive that a test makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.images import apt, own_apt
from foothold_lab.images.apt import Apt, PackageSet
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError
from foothold_lab.images.mirror import find_mirror
from foothold_lab.images.progress import no_progress
from tests import debian_archive
from tests.debian_archive import SUITE, Archive, Mirror, serve

WANTED = PackageSet(suite=SUITE, packages=("base",))

pytestmark = pytest.mark.skipif(
    bool(debian_archive.missing_tool()), reason="this machine has no gpg to sign an archive"
)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    archive = Archive(tmp_path / "debian")
    archive.add("base")
    archive.publish()
    tools = own_apt.obtain(Cache(), find_mirror().url, no_progress)
    monkeypatch.setattr(own_apt, "host_has_apt", lambda: False)
    monkeypatch.setattr(own_apt, "obtain", lambda *_: tools)
    monkeypatch.setattr(apt, "KEYS", archive.keys)
    with serve(archive) as mirror:
        monkeypatch.setenv("FOOTHOLD_MIRROR", mirror.url)
        yield mirror
    archive.close()


def test_resolves_downloads_and_unpacks(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Apt(Cache(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")  # no program of this machine is used
        debs = one.resolve(WANTED)
        one.fetch(WANTED, debs)
        one.unpack(debs, tmp_path / "tree")
        assert one.older_packages([replace(deb, version="2.0") for deb in debs], debs) == debs
    assert (tmp_path / "tree/usr/share/base/version").read_text() == "1.0"


def test_brings_every_file_that_its_options_name() -> None:
    tools = own_apt.obtain(Cache(), find_mirror().url, no_progress)
    assert tools.options["Dir::dpkg::cputable"]  # else: Error reading the CPU table
    assert [path for path in tools.options.values() if not Path(path).exists()] == []


def test_refuses_an_index_with_a_wrong_signature(tmp_path: Path, mirror: Mirror) -> None:
    release = mirror.archive.root / "dists" / SUITE / "InRelease"
    release.write_text(release.read_text().replace("Label: Debian", "Label: debian"))
    with pytest.raises(ImageError, match=r"signature|BADSIG"):
        Apt(Cache(tmp_path / "cache")).resolve(WANTED)


def test_refuses_an_index_that_is_signed_by_another_key(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "KEYS", Path(apt.__file__).with_name("archive_keys"))
    with pytest.raises(ImageError, match=r"NO_PUBKEY|public key"):
        Apt(Cache(tmp_path / "cache")).resolve(WANTED)
