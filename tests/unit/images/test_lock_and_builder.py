"""Package locks, changed suites, and keys."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foothold_lab.images import lock
from foothold_lab.images.apt import Apt, Deb, PackageSet
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.catalogue import RECIPES
from foothold_lab.images.errors import ImageError, SuiteChanged
from foothold_lab.images.recipes import Materials, Recipe

# no tested lock has this set
SET = PackageSet(suite="trixie", packages=("user-mode-linux", "test"))


def deb(version: str, package: str = "user-mode-linux") -> Deb:
    return Deb(
        package=package,
        version=version,
        suite="trixie",
        file=f"{package}_{version}_amd64.deb",
        size=10,
        sha256=version * 8,
    )


class FakeApt:
    """A suite with the packages in `there`."""

    def __init__(self, there: Sequence[Deb]) -> None:
        self.there = list(there)
        self.here: set[Deb] = set()
        self.fetched: list[Deb] = []

    def resolve(self, wanted: PackageSet, *, refresh: bool = False) -> list[Deb]:
        return self.there

    def has(self, each: Deb) -> bool:
        return each in self.here

    def fetch(self, wanted: PackageSet, debs: Sequence[Deb]) -> None:
        missing = [each for each in debs if each not in self.here]
        assert set(missing) <= set(self.there), "asked for what the suite does not have"
        self.fetched += missing
        self.here |= set(missing)

    def unpack(self, debs: Sequence[Deb], tree: Path) -> None:
        tree.mkdir(parents=True)
        for deb in debs:
            (tree / deb.file).write_text(deb.file)

    def older_packages(self, old: Sequence[Deb], new: Sequence[Deb]) -> list[Deb]:
        return Apt(Cache()).older_packages(old, new)  # of the dpkg of this machine

    def stop(self) -> None:
        pass


def make(materials: Materials, out: Path) -> None:
    for path in sorted(materials.packages.iterdir()):
        (out / path.name).write_text(path.read_text())


def builder(
    root: Path, apt: FakeApt, said: list[str] | None = None, *, locked: bool = False
) -> Builder:
    one = Builder(
        Cache(root),
        locked=locked,
        progress=lambda what, **_: None if said is None else said.append(what),
        recipes={"uml": Recipe(name="uml", make=make, packages=SET, space=0)},
    )
    one._apt = apt  # type: ignore[assignment]
    return one


def test_a_first_build_locks_its_packages_and_a_second_downloads_nothing(tmp_path: Path) -> None:
    apt = FakeApt([deb("6.12um1")])
    first = builder(tmp_path, apt).image("uml")
    assert [path.name for path in first.glob("*.deb")] == ["user-mode-linux_6.12um1_amd64.deb"]
    apt.there = []  # the mirror is gone: nobody may ask it
    again = builder(tmp_path, apt)
    assert again.ready("uml")
    assert again.image("uml") == first
    assert again.kernel_release("uml") == "6.12"
    assert apt.fetched == [deb("6.12um1")]


def test_follows_a_changed_suite_and_reports_it(tmp_path: Path) -> None:
    lock.remember(SET, [deb("6.12um1")], tmp_path / "lock.json")
    said: list[str] = []
    image = builder(tmp_path, FakeApt([deb("6.13um1")]), said).image("uml")
    assert (image / "user-mode-linux_6.13um1_amd64.deb").exists()
    [notice] = [line for line in said if "has changed" in line]
    assert "user-mode-linux 6.12um1 -> 6.13um1" in notice
    assert lock.locked_packages(SET, tmp_path / "lock.json") == [deb("6.13um1")]


def test_locked_refuses_a_changed_suite(tmp_path: Path) -> None:
    lock.remember(SET, [deb("6.12um1")], tmp_path / "lock.json")
    with pytest.raises(SuiteChanged, match=r"6\.12um1 -> 6\.13um1") as caught:
        builder(tmp_path, FakeApt([deb("6.13um1")]), locked=True).image("uml")
    assert "--update" in caught.value.remedy
    assert not (tmp_path / "store").exists()


def test_refuses_a_suite_with_older_packages(tmp_path: Path) -> None:
    lock.remember(SET, [deb("6.12um1")], tmp_path / "lock.json")
    with pytest.raises(ImageError, match=r"older than the locked versions: .* 6\.9um1") as caught:
        builder(tmp_path, FakeApt([deb("6.9um1")])).image("uml")
    assert "FOOTHOLD_MIRROR" in caught.value.remedy
    assert lock.locked_packages(SET, tmp_path / "lock.json") == [deb("6.12um1")]


def test_builds_from_a_downloaded_package_after_the_suite_changed(tmp_path: Path) -> None:
    lock.remember(SET, [deb("6.12um1")], tmp_path / "lock.json")
    apt = FakeApt([deb("6.13um1")])
    apt.here = {deb("6.12um1")}
    image = builder(tmp_path, apt, locked=True).image("uml")
    assert (image / "user-mode-linux_6.12um1_amd64.deb").exists()


def test_update_takes_the_suites_current_packages(tmp_path: Path) -> None:
    apt = FakeApt([deb("6.12um1")])
    one = builder(tmp_path, apt)
    one.image("uml")
    apt.there = [deb("6.14um1")]
    assert one.update(["uml"]) == ["uml: user-mode-linux 6.12um1 -> 6.14um1"]
    assert one.kernel_release("uml") == "6.14"
    assert one.update(["uml"]) == []


def test_the_tested_lock_holds_until_the_user_updates(tmp_path: Path) -> None:
    tested, own = tmp_path / "tested.json", tmp_path / "own.json"
    lock.write(tested, lock.LockFile(sets={SET.name: [deb("6.12um1")]}))
    assert lock.locked_packages(SET, own, tested) == [deb("6.12um1")]
    lock.remember(SET, [deb("6.13um1")], own, tested)
    assert lock.locked_packages(SET, own, tested) == [deb("6.13um1")]
    # a new release of ours tested something newer: the old choice has had its day
    lock.write(tested, lock.LockFile(sets={SET.name: [deb("6.14um1")]}))
    assert lock.locked_packages(SET, own, tested) == [deb("6.14um1")]


def test_reports_a_damaged_lock_file(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text('{"sets": 3}')
    with pytest.raises(ImageError, match="is not a lock file"):
        lock.read(tmp_path / "lock.json")


def test_a_stopped_builder_leaves_no_partial_image(tmp_path: Path) -> None:
    apt, said = FakeApt([deb("6.12um1")]), list[str]()
    one = builder(tmp_path, apt, said)

    def fetch(wanted: PackageSet, debs: Sequence[Deb]) -> None:
        one.stop()  # as Ctrl-C does, in another thread

    apt.fetch = fetch  # type: ignore[method-assign]
    with pytest.raises(ImageError, match="the build was stopped"):
        one.image("uml")
    assert said[-1] == "building uml"
    assert not (tmp_path / "store").exists()
    assert list((tmp_path / "building").iterdir()) == []


def test_stop_ends_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    os.mkfifo(tmp_path / "begun")
    for name in ("apt-get", "dpkg", "dpkg-deb"):  # with fewer, Foothold takes an apt of its own
        (programs / name).write_text(f"#!/bin/sh\necho > {tmp_path}/begun\nexec sleep 600\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FOOTHOLD_MIRROR", "file:///nowhere")
    one = Builder(
        Cache(tmp_path / "cache"),
        recipes={"uml": Recipe(name="uml", make=make, packages=SET, space=0)},
    )
    with ThreadPoolExecutor(1) as pool:
        built = pool.submit(one.image, "uml")
        (tmp_path / "begun").read_text()
        one.stop()
        with pytest.raises(ImageError, match="failed"):
            built.result(timeout=30)


def test_an_unknown_image_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        builder(tmp_path, FakeApt([])).image("umm")
    assert "uml" in caught.value.remedy


def test_the_key_depends_on_packages_and_cache_directory(tmp_path: Path) -> None:
    one = builder(tmp_path / "a", FakeApt([deb("6.12um1")])).image("uml")
    two = builder(tmp_path / "a", FakeApt([deb("6.13um1")]))
    two.update(["uml"])
    assert two.image("uml").name != one.name
    elsewhere = builder(tmp_path / "b", FakeApt([deb("6.12um1")])).image("uml")
    assert elsewhere.name != one.name


def test_the_committed_lock_names_every_package_of_every_recipe() -> None:
    tested = lock.read(lock.TESTED)
    for recipe in RECIPES.values():
        if recipe.packages:
            debs = tested.sets[recipe.packages.name]
            assert all(len(each.sha256) == 64 and each.size and each.version for each in debs)
            assert all(each.suite == recipe.packages.suite for each in debs)
    assert "://" not in json.dumps(json.loads(lock.TESTED.read_text()))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("uml-bullseye", "5.10"),
        ("uml-trixie", "6.12"),
        ("cloud-x86_64-bullseye", "5.10"),
        ("cloud-x86_64", "6.1"),
        ("cloud-x86_64-forky", "7.2"),
    ],
)
def test_the_packages_name_the_release_of_a_kernel(
    image: str, expected: str, tmp_path: Path
) -> None:
    assert Builder(Cache(tmp_path)).kernel_release(image) == expected


def test_two_sets_of_the_same_packages_keep_their_own_dependencies(tmp_path: Path) -> None:
    """They had one list in the lock: the second replaced that of the first."""
    place = tmp_path / "lock.json"
    narrow, wide = (
        PackageSet(suite="trixie", packages=("test-tool",), only=only)
        for only in (("test-tool", "libone"), ("test-tool", "libtwo"))
    )
    tool, one, two = (deb("1", name) for name in ("test-tool", "libone", "libtwo"))
    lock.remember(narrow, [one, tool], place)
    lock.remember(wide, [two, tool], place)
    assert lock.locked_packages(narrow, place) == [one, tool]
    assert lock.locked_packages(wide, place) == sorted([two, tool])
    newer = deb("2", "libtwo")
    lock.remember(wide, sorted([newer, tool]), place)
    assert lock.locked_packages(wide, place) == sorted([newer, tool])
    assert lock.locked_packages(narrow, place) == [one, tool]
