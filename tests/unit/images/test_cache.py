"""The store under concurrent builds, kills and damage: an entry is complete or absent."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from foothold_lab.images import lock
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.cache import Cache, size_of
from foothold_lab.images.errors import ImageError, NoSpace
from foothold_lab.images.verify import verify
from tests.debian_archive import deb_of


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


def _overwrite_with_the_same_time(tree: Path) -> None:
    status = (tree / "deep/file").stat()
    (tree / "deep/file").write_text("contentz")
    os.utime(tree / "deep/file", ns=(status.st_atime_ns, status.st_mtime_ns))


def _relink(path: Path, target: Path | str) -> None:
    path.unlink()
    path.symlink_to(target)


def _replace_by_fifo(tree: Path) -> None:
    (tree / "deep/file").unlink()
    os.mkfifo(tree / "deep/file")


def _move_directory(tree: Path) -> None:
    (tree / "deep").rename(tree.parents[1] / "deep")
    (tree / "deep").symlink_to(tree.parents[1] / "deep")


def _edit_manifest(tree: Path) -> None:
    text = (tree / "manifest.json").read_text()
    (tree / "manifest.json").write_text(text.replace('"text":"contents"', '"text":"x"'))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncate": lambda tree: os.truncate(tree / "deep/file", 3),
    "overwrite": lambda tree: (tree / "deep/file").write_text("contentz"),
    "remove": lambda tree: (tree / "deep/file").unlink(),
    "relink": lambda tree: _relink(tree / "link", "deep/filx"),
    "replace by a link": lambda tree: _relink(tree / "deep/file", "contents"),
    "replace by a FIFO": _replace_by_fifo,
    "change the mode": lambda tree: (tree / "deep/file").chmod(0o4755),
    # only the thorough comparison finds these
    "overwrite and restore the time": _overwrite_with_the_same_time,
    "change the mode of a directory": lambda tree: (tree / "deep").chmod(0o777),
    "add a file": lambda tree: (tree / "deep/added").touch(),
    "add a directory": lambda tree: (tree / "added").mkdir(),
    "replace a directory by a link": _move_directory,
    "change the manifest": _edit_manifest,
}
QUICK = list(DAMAGE)[:7]


@pytest.mark.parametrize("damage", QUICK)
def test_detects_and_repairs_damage(tmp_path: Path, damage: str) -> None:
    cache, said = Cache(tmp_path), list[str]()
    entry = cache.obtain("thing", "k" * 64, put("contents"))  # type: ignore[arg-type]
    DAMAGE[damage](entry.path)
    assert entry.damage() is not None
    assert cache.get("thing", "k" * 64) is None
    again = cache.obtain(
        "thing",
        "k" * 64,
        put("contents"),  # type: ignore[arg-type]
        progress=lambda what, **_: said.append(what),
    )
    assert again.all_damage() == []
    assert (entry.path / "deep/file").read_text() == "contents"
    assert any("damaged" in line for line in said)


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_finds_all_damage_and_removes_the_entry(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    intact = cache.obtain("other", "k" * 64, put("contents"))  # type: ignore[arg-type]
    path = cache.obtain("thing", "k" * 64, put("contents")).path  # type: ignore[arg-type]
    assert list(verify(cache)) == []
    DAMAGE[damage](path)
    [found] = verify(cache)
    assert found.path == path
    assert found.removal.obstacle == ""
    assert cache.directories() == [intact.path]
    assert list(verify(cache)) == []


def test_verify_keeps_a_damaged_entry_that_is_in_use(tmp_path: Path) -> None:
    entry = Cache(tmp_path).obtain("thing", "k" * 64, put("contents"))  # type: ignore[arg-type]
    DAMAGE["add a file"](entry.path)
    [found] = verify(Cache(tmp_path))
    assert found.found == ("deep/added was added",)
    assert found.removal.obstacle == "it is in use"
    assert entry.path.exists()


def test_verify_removes_what_has_no_manifest(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "store/half-1234").mkdir(parents=True)
    (tmp_path / "store/stray").symlink_to("/nowhere")
    assert [found.path.name for found in verify(cache)] == ["half-1234", "stray"]
    assert cache.directories() == []


def test_verify_removes_a_package_that_was_replaced(tmp_path: Path) -> None:
    data = b"package"
    deb = deb_of(data)
    wanted = PackageSet(suite="bookworm", packages=("base",))
    lock.remember(wanted, [deb], tmp_path / "lock.json")
    place = tmp_path / "debs" / deb.file
    place.parent.mkdir()
    place.write_bytes(data)
    assert list(verify(Cache(tmp_path))) == []
    place.write_bytes(b"PACKAGE")
    [found] = verify(Cache(tmp_path))
    assert found.path == place
    assert not place.exists()


def test_an_image_has_no_devices(tmp_path: Path) -> None:
    def build(out: Path) -> Mapping[str, object]:
        os.mkfifo(out / "fifo")
        return {}

    with pytest.raises(ImageError, match="fifo is neither a file nor a directory nor a link"):
        Cache(tmp_path).obtain("thing", "k" * 64, build)
    assert Cache(tmp_path).directories() == []


def test_an_image_has_no_setuid_programs(tmp_path: Path) -> None:
    def build(out: Path) -> Mapping[str, object]:
        (out / "su").touch()
        (out / "su").chmod(0o6755)
        return {}

    entry = Cache(tmp_path).obtain("thing", "k" * 64, build)
    assert stat.S_IMODE((entry.path / "su").stat().st_mode) == 0o755
    assert entry.all_damage() == []


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


def test_a_size_is_what_a_directory_takes_on_disk(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    empty = size_of(tmp_path)
    (tmp_path / "deep" / "data").write_bytes(bytes(range(256)) * 4096)
    (tmp_path / "deep" / "second-name").hardlink_to(tmp_path / "deep" / "data")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)
    assert 1 << 20 <= size_of(tmp_path) - empty < (1 << 20) + (64 << 10)
    assert size_of(tmp_path / "sparse") < 64 << 10


def test_prune_keeps_named_and_locked_entries(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    keep = cache.obtain("keep", "k" * 64, put("a"))  # type: ignore[arg-type]
    drop = cache.obtain("drop", "k" * 64, put("b" * 1000))  # type: ignore[arg-type]
    busy = cache.obtain("busy", "k" * 64, put("c"))  # type: ignore[arg-type]
    used = cache.obtain("used", "k" * 64, put("d"))  # type: ignore[arg-type]
    (tmp_path / "building" / "left").mkdir(parents=True)
    drop.usage.close()
    busy.usage.close()
    with cache.locked(busy.path.name):
        removed = Cache(tmp_path).prune(frozenset({keep.path}))
    assert {each.path.name: each.obstacle for each in removed} == {
        drop.path.name: "", "left": "",
        busy.path.name: "it is being built", used.path.name: "it is in use",
    }  # fmt: skip
    assert {each.path: each.size for each in removed}[drop.path] > 1000
    assert used.path.exists()
    used.usage.close()
    assert [each.path for each in Cache(tmp_path).prune(frozenset({keep.path, busy.path}))] == [
        used.path
    ]
    assert keep.path.exists()
    assert busy.path.exists()
