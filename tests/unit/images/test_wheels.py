"""Wheels: found by their hash, and unpacked."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.images import wheels
from foothold_lab.images.errors import ImageError
from foothold_lab.images.programs import BUN, PORTS
from foothold_lab.images.progress import no_progress


def made(directory: Path) -> wheels.Wheel:
    directory.mkdir()
    path = directory / "nosuchprogram-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("nosuchprogram/program", "content")
    data = path.read_bytes()
    return wheels.Wheel(
        project="nosuchprogram",
        version="1.0",
        platform="any",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def test_uses_a_downloaded_wheel_and_unpacks_it(tmp_path: Path) -> None:
    wheel = made(tmp_path / "wheels")
    file = wheels.fetch(wheel, tmp_path / "wheels", no_progress)
    wheels.unpack([file], tmp_path / "tree")
    assert (tmp_path / "tree/nosuchprogram/program").read_text() == "content"


def test_does_not_use_a_wheel_with_another_hash(tmp_path: Path) -> None:
    wheel = made(tmp_path / "wheels")
    assert wheels.find(replace(wheel, sha256="0" * 64), tmp_path / "wheels") is None
    assert wheels.find(replace(wheel, size=1), tmp_path / "wheels") is None


def test_reports_what_pip_cannot_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = made(tmp_path / "elsewhere")
    for name in ("PIP_NO_INDEX", "PIP_DISABLE_PIP_VERSION_CHECK"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(ImageError, match=r"pip cannot download nosuchprogram 1\.0: .*No matching"):
        wheels.fetch(wheel, tmp_path / "wheels", no_progress)


def test_every_port_has_the_same_version_of_bun() -> None:
    assert set(BUN) == {port.name for port in PORTS}
    assert len({each.version for each in BUN.values()}) == 1
    assert len({each.sha256 for each in BUN.values()}) == len(PORTS)
