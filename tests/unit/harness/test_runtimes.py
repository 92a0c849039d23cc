"""The catalogue of packaged runtimes, without building one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foothold_lab.harness.cli.context import make_vocabulary
from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.plan import Axes, Selection, find_plan, load_plan
from foothold_lab.harness.subjects.packaged import (
    CATALOGUE,
    RUNTIMES,
    packaged,
    subject,
    version,
)
from foothold_lab.harness.subjects.programs import PROGRAMS
from foothold_lab.harness.subjects.survey_programs import SURVEY_PROGRAMS
from foothold_lab.images import disks, runtimes
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.catalogue import GUESTS, RECIPES
from foothold_lab.images.debian_arch import AMD64
from foothold_lab.images.errors import ImageError


@pytest.fixture
def empty(tmp_path: Path) -> Builder:
    """A builder that can build nothing: what it does not know already it cannot say."""
    return Builder(Cache(tmp_path), locked=True)


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_has_an_image_a_disk_and_a_version(name: str, empty: Builder) -> None:
    this = RUNTIMES[name]
    image = this.port.image(this.image)
    assert image in {each.name for each in runtimes.RUNTIMES}
    assert disks.DISK + image in RECIPES
    assert re.fullmatch(r"\d+(\.\d+)+", version(name, empty)), version(name, empty)
    assert re.compile(this.ready_pattern)
    assert this.argv[0].startswith("{image}/")


def test_the_guests_do_without_them() -> None:
    assert not set(GUESTS) & {each.name for each in runtimes.RUNTIMES}
    assert not any(need not in GUESTS for recipe in GUESTS.values() for need in recipe.needs)


def test_a_subject_knows_where_its_image_is(
    empty: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(empty, "image", lambda name: Path(f"/store/{name}-1"))
    java = subject("java-zgc", empty)
    assert java.argv[:2] == ("/store/java-1/jdk/bin/java", "-XX:+UseZGC")
    assert (java.image, java.directory, java.ends) == ("java", "", True)
    assert subject("node-hello", empty).directory == "/store/node-1"
    malloc = packaged(empty)["c-jemalloc"]()
    assert malloc.environment == {"LD_PRELOAD": "/store/allocators-1/lib/libjemalloc.so.2"}
    foreign = packaged(empty)["c-jemalloc-riscv64"]()
    assert (malloc.machine, foreign.machine) == ("x86_64", "riscv64")
    assert foreign.image == "allocators-riscv64"
    assert foreign.argv == ("/store/allocators-riscv64-1/allocate",)


def test_an_image_that_cannot_be_had_is_told(
    empty: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTHOLD_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(ImageError):
        packaged(empty)["luajit-hello"]()


def test_the_plan_asks_for_all_of_them(empty: Builder) -> None:
    plan = load_plan(find_plan("runtimes"), make_vocabulary(empty))
    cells = plan.cells()
    at_work = {cell.subject for cell in cells} - set(RUNTIMES) - set(SURVEY_PROGRAMS)
    assert at_work <= set(PROGRAMS)
    assert {"php", "ruby", "perl", "redis", "sqlite", "bun", "postgres"} <= at_work
    assert {cell.subject for cell in cells} == {*RUNTIMES, *SURVEY_PROGRAMS, *at_work}
    assert all(cell.expected for cell in cells)
    machines = {name: kind.machines for name, kind in catalogue(empty).items()}
    for cell in cells:
        assert CATALOGUE[cell.subject].port.machine == machines[cell.guest][0]
    here = {
        cell.subject for cell in plan.cells(Selection(axes=Axes(guests=("qemu-riscv64-sv39",))))
    }
    assert here == {name for name in CATALOGUE if name.endswith("-riscv64")}


def test_the_plan_has_the_settings_of_kernels_that_users_meet(empty: Builder) -> None:
    """Pages of 16 and 64 KiB, memory that is never executable, 32 random bits, and gVisor."""
    cells = load_plan(find_plan("runtimes"), make_vocabulary(empty)).cells()
    asked = {(cell.guest, str(cell.limits)) for cell in cells}
    assert {
        ("qemu-arm64-16k", "none"), ("qemu-ppc64le-64k", "none"), ("native", "wx=refused"),
        ("qemu-x86_64", "mmap_rnd_bits=32"), ("gvisor", "none"),
    } <= asked  # fmt: skip


def test_no_emulated_machine_needs_more_disks_than_it_has_slots(empty: Builder) -> None:
    images: dict[str, set[str]] = {}
    for cell in load_plan(find_plan("runtimes"), make_vocabulary(empty)).cells():
        this = CATALOGUE[cell.subject]
        images.setdefault(cell.guest, set()).add(this.port.image(this.image))
    emulated = [len(each) for guest, each in images.items() if guest.startswith("qemu-")]
    assert 26 < max(emulated) <= disks.MOST


def test_disks_are_named_as_linux_does_and_share_slots() -> None:
    names = [disks.device(number) for number in (0, 25, 26, 27, 51, 52, 701, 702)]
    assert names == ["vda", "vdz", "vdaa", "vdab", "vdaz", "vdba", "vdzz", "vdaaa"]
    places = [disks.address(number) for number in range(disks.MOST)]
    assert places[:9:8] == [",addr=8.0,multifunction=on", ",addr=9.0,multifunction=on"]
    assert places[-1] == ",addr=1e.7,multifunction=on"
    assert len(set(places)) == disks.MOST


def test_a_runtime_is_the_same_on_every_machine() -> None:
    for name in (each for each, this in RUNTIMES.items() if this.port is AMD64):
        same = [name, f"{name}-arm64", f"{name}-riscv64"]
        assert len({(RUNTIMES[each].title, RUNTIMES[each].argv) for each in same}) == 1


def test_the_page_about_them_names_all() -> None:
    page = (Path(__file__).parents[3] / "docs/runtimes.md").read_text()
    assert all(f"`{name}`" in page for name, this in RUNTIMES.items() if this.port is AMD64)
    assert all(f"`-{port.name}`" in page for port in runtimes.PORTS if port.foreign)
