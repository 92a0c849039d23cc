"""The store under concurrent builds, kills and damage: an entry is complete or absent."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError, NoSpace


def put(text: str) -> object:
    def build(out: Path) -> Mapping[str, object]:
        (out / "deep").mkdir()
        (out / "deep" / "file").write_text(text)
        (out / "link").symlink_to("deep/file")
        return {"text": text}

    return build


def test_an_entry_is_built_once_and_found_again(tmp_path: Path) -> None:
    cache, built = Cache(tmp_path), []

    def build(out: Path) -> Mapping[str, object]:
        built.append(out)
        (out / "file").write_text("contents")
        return {"from": "test"}

    first = cache.obtain("thing", "k" * 64, build)
    second = cache.obtain("thing", "k" * 64, build)
    assert len(built) == 1
    assert first.path == second.path == cache.path("thing", "k" * 64)
    assert (first.path / "file").read_text() == "contents"
    assert second.manifest.provenance == {"from": "test"}
    assert [entry.path for entry in cache.entries()] == [first.path]
    assert cache.obtain("thing", "other" * 10, build).path != first.path


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("damage", ["truncate", "overwrite", "remove", "relink"])
def test_detects_and_repairs_damage(tmp_path: Path, damage: str, thorough: bool) -> None:
    cache, said = Cache(tmp_path), list[str]()
    entry = cache.obtain("thing", "k" * 64, put("contents"))  # type: ignore[arg-type]
    file = entry.path / "deep" / "file"
    if damage == "truncate":
        os.truncate(file, 3)
    elif damage == "overwrite":
        file.write_text("contentz")
    elif damage == "remove":
        file.unlink()
    else:
        (entry.path / "link").unlink()
        (entry.path / "link").symlink_to("deep/filx")
    assert entry.damage(thorough=thorough) is not None
    assert cache.get("thing", "k" * 64) is None
    again = cache.obtain(
        "thing", "k" * 64, put("contents"), progress=lambda what, **_: said.append(what)
    )  # type: ignore[arg-type]
    assert again.damage(thorough=True) is None
    assert file.read_text() == "contents"
    assert any("damaged" in line for line in said)


def test_a_touched_file_with_the_same_contents_is_valid(tmp_path: Path) -> None:
    entry = Cache(tmp_path).obtain("thing", "k" * 64, put("contents"))  # type: ignore[arg-type]
    os.utime(entry.path / "deep" / "file", (1, 1))
    assert entry.damage() is None


def test_rebuilds_an_entry_with_a_damaged_manifest(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    entry = cache.obtain("thing", "k" * 64, put("contents"))  # type: ignore[arg-type]
    (entry.path / "manifest.json").write_text("{")
    assert list(cache.entries()) == []
    assert cache.obtain("thing", "k" * 64, put("contents")).damage() is None  # type: ignore[arg-type]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def build(out: Path) -> Mapping[str, object]:
        (out / "half").write_text("x")
        raise ImageError("no luck", "try again")

    with pytest.raises(ImageError, match="no luck"):
        cache.obtain("thing", "k" * 64, build)
    assert list((tmp_path / "building").iterdir()) == []
    assert not (tmp_path / "store").exists()


def test_reports_a_full_disk_with_a_remedy(tmp_path: Path) -> None:
    def build(_: Path) -> Mapping[str, object]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NoSpace) as caught:
        Cache(tmp_path).obtain("thing", "k" * 64, build)
    assert str(tmp_path) in str(caught.value)
    assert "FOOTHOLD_CACHE" in caught.value.remedy


def test_reports_too_little_space_before_building(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="needs 1099511627776 MiB"):
        Cache(tmp_path).obtain("thing", "k" * 64, put("x"), space=1 << 60)  # type: ignore[arg-type]


def test_reports_an_unwritable_cache_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError) as caught:
        Cache(tmp_path / "file").obtain("thing", "k" * 64, put("x"))  # type: ignore[arg-type]
    assert "FOOTHOLD_CACHE" in caught.value.remedy


def test_two_builders_at_once_build_once(tmp_path: Path) -> None:
    built, together = [], threading.Barrier(2)

    def build(out: Path) -> Mapping[str, object]:
        built.append(out)
        time.sleep(0.1)
        (out / "file").write_text("x")
        return {}

    def work() -> None:
        together.wait()
        Cache(tmp_path).obtain("thing", "k" * 64, build)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def _build_for_ever(root: Path, started: Path) -> None:
    def build(out: Path) -> Mapping[str, object]:
        (out / "half").write_text("x")
        started.touch()
        signal.pause()
        return {}

    Cache(root).obtain("thing", "k" * 64, build)


def test_a_killed_builder_does_not_block_the_next_one(tmp_path: Path) -> None:
    started = tmp_path / "started"
    builder = multiprocessing.get_context("fork").Process(
        target=_build_for_ever, args=(tmp_path / "cache", started)
    )
    builder.start()
    while not started.exists():
        assert builder.is_alive()
        time.sleep(0.01)
    assert builder.pid
    os.kill(builder.pid, signal.SIGKILL)
    builder.join()
    entry = Cache(tmp_path / "cache").obtain("thing", "k" * 64, put("contents"))  # type: ignore[arg-type]
    assert not (entry.path / "half").exists()
    assert list((tmp_path / "cache" / "building").iterdir()) == []


def test_prune_keeps_named_and_locked_entries(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    keep = cache.obtain("keep", "k" * 64, put("a"))  # type: ignore[arg-type]
    drop = cache.obtain("drop", "k" * 64, put("b" * 1000))  # type: ignore[arg-type]
    busy = cache.obtain("busy", "k" * 64, put("c"))  # type: ignore[arg-type]
    (tmp_path / "building" / "left").mkdir(parents=True)
    with cache.locked(busy.path.name):
        removed = Cache(tmp_path).prune(frozenset({keep.path}))
    assert {path.name for path, _ in removed} == {drop.path.name, "left"}
    assert dict(removed)[drop.path] > 1000
    assert keep.path.exists()
    assert busy.path.exists()
