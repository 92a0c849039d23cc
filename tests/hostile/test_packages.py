"""Hostile packages and hostile answers of apt: nothing outside of the tree is written."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.images import apt, own_apt
from foothold_lab.images.apt import Apt, Deb, parse_uris
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError
from tests.debian_archive import deb_of, file, package, special

Members = list[tuple[tarfile.TarInfo, bytes]]

needs_dpkg = pytest.mark.skipif(not own_apt.host_has_apt(), reason="no dpkg-deb here")


def put(cache: Path, data: bytes) -> Deb:
    """Put a package into the downloads of a store, with its true hash."""
    deb = deb_of(data)
    (cache / "debs").mkdir(parents=True, exist_ok=True)
    (cache / "debs" / deb.file).write_bytes(data)
    return deb


def unpack(cache: Path, data: bytes) -> str:
    """Build an image of this package. Returns the error, empty without one."""
    deb = put(cache, data)

    def build(out: Path) -> Mapping[str, object]:
        Apt(Cache(cache)).unpack([deb], out)
        return {}

    try:
        Cache(cache).obtain("image", deb.sha256, build)
    except ImageError as error:
        return str(error)
    return ""


def hostile(outside: Path) -> dict[str, Members]:
    """Return packages that try to write into `outside`, or to make what an image must not have."""
    up = "../" * 30
    there = str(outside)
    return {
        "absolute path": [file(f"{there}/absolute", b"x")],
        "parent directories": [file(f"./{up}{there[1:]}/parent", b"x")],
        "through a link": [
            special("./link", tarfile.SYMTYPE, there),
            file("./link/through", b"x"),
        ],
        "through a relative link": [
            special("./link", tarfile.SYMTYPE, f"{up}{there[1:]}"),
            file("./link/through", b"x"),
        ],
        "hard link to a file outside": [
            special("./hard", tarfile.LNKTYPE, f"{there}/victim"),
            file("./hard", b"overwritten"),
        ],
        "over a link to a file": [
            special("./over", tarfile.SYMTYPE, f"{there}/victim"),
            file("./over", b"overwritten"),
        ],
        "directory mode through a link": [
            special("./dir", tarfile.SYMTYPE, there),
            special("./dir/", tarfile.DIRTYPE),
        ],
    }


@needs_dpkg
@pytest.mark.parametrize("name", hostile(Path("/x")))
def test_a_package_writes_nothing_outside_of_its_tree(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    before = outside.stat()
    unpack(tmp_path / "cache", package(hostile(outside)[name], "Package: base\n"))
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_text() == "untouched"
    assert outside.stat().st_mode == before.st_mode


@needs_dpkg
@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        (tarfile.FIFOTYPE, "is neither a file nor a directory nor a link"),
        # an ordinary user cannot make devices: tar fails
        (tarfile.CHRTYPE, "is neither|cannot be unpacked"),
        (tarfile.BLKTYPE, "is neither|cannot be unpacked"),
    ],
)
def test_an_image_has_no_device_of_a_package(tmp_path: Path, kind: bytes, refused: str) -> None:
    error = unpack(tmp_path, package([special("./dev", kind)], "Package: base\n"))
    assert any(each in error for each in refused.split("|")), error
    assert Cache(tmp_path).directories() == []


@needs_dpkg
def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    error = unpack(tmp_path, package([file("./\udcf2name", b"x")], "Package: base\n"))
    assert "the name '\\udcf2name' is not UTF-8" in error


@needs_dpkg
def test_the_size_of_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "LARGEST_FILE", 1 << 20)
    data = package([file("./huge", bytes(2 << 20))], "Package: base\n")
    assert "cannot be unpacked" in unpack(tmp_path, data)
    assert list((tmp_path / "building").iterdir()) == []


@needs_dpkg
def test_a_promised_size_is_not_believed(tmp_path: Path) -> None:
    data = package([special("./huge", tarfile.REGTYPE, size=1 << 40)], "Package: base\n")
    assert "cannot be unpacked" in unpack(tmp_path, data)


@needs_dpkg
@pytest.mark.parametrize("cut", [0, 7, 8, 70, 140, 200])
def test_a_cut_package_is_an_error(tmp_path: Path, cut: int) -> None:
    data = package([file("./file", b"x" * 500)], "Package: base\n")
    assert "cannot be unpacked" in unpack(tmp_path, data[:cut])


@needs_dpkg
@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_package_is_an_error_or_a_sound_image(tmp_path: Path, seed: int) -> None:
    data = bytearray(package([file(f"./dir/{n}", b"x" * 99) for n in range(5)], "Package: base\n"))
    for at in hashlib.sha256(bytes([seed])).digest()[:8]:
        data[at * len(data) // 256] ^= 1 << at % 8
    error = unpack(tmp_path, bytes(data))
    assert error == "" or "cannot be unpacked" in error or "would be unsafe" in error
    assert list((tmp_path / "building").iterdir()) == []


@needs_dpkg
def test_a_link_is_not_taken_for_a_package(tmp_path: Path) -> None:
    deb = put(tmp_path, package([file("./file", b"x")], "Package: base\n"))
    place = tmp_path / "debs" / deb.file
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    one = Apt(Cache(tmp_path))
    assert not one.has(deb)
    place.unlink()
    os.mkfifo(place)
    assert not one.has(deb)


@pytest.mark.parametrize(
    "name", ["../x_1_amd64.deb", "/etc/x_1_amd64.deb", "x/y_1_amd64.deb", "x_1_amd64.deb\n", ""]
)
def test_a_lock_names_only_files_of_the_store(name: str) -> None:
    fields = {
        "package": "x", "version": "1", "suite": "bookworm", "file": name, "size": 1, "sha256": "0",
    }  # fmt: skip
    with pytest.raises(msgspec.ValidationError, match="is not the file name of a package"):
        msgspec.convert(fields, Deb)


WORDS = ("'http://x/pool/a.deb'", "a_1_amd64.deb", "a_1%3a2_amd64.deb", "../a_1_amd64.deb", "1",
         "-1", "9" * 40, "SHA256:" + "0" * 64, "SHA256:", "_", "\x1b[2J", "\x85", "\0")  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=20), max_size=5), max_size=5))
def test_any_answer_of_apt_is_read(lines: list[list[str]]) -> None:
    for deb in parse_uris("\n".join(map(" ".join, lines)), "bookworm"):
        assert "/" not in deb.file
        assert 0 <= deb.size < 10**12
        assert len(deb.sha256) == 64


def test_reads_the_answer_of_apt() -> None:
    hash_ = "0123456789abcdef" * 4
    line = f"'http://x/libc6_2.36-9%2bdeb12u1_amd64.deb' libc6_1%3a2.36-9+deb12u1_amd64.deb 42 SHA256:{hash_}"
    assert parse_uris(f"noise\n{line}\n", "bookworm") == [
        Deb(
            package="libc6",
            version="1:2.36-9+deb12u1",
            suite="bookworm",
            file="libc6_1%3a2.36-9+deb12u1_amd64.deb",
            size=42,
            sha256=hash_,
        )
    ]
