"""The machines that QEMU emulates: their images and command lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.architectures import (
    ARCHITECTURES,
    EMULATIONS,
    X86_64,
    Architecture,
)
from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.guests.qemu import QemuParts, command
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.plan import find_plan, load_plan
from foothold_lab.images.builder import Builder
from foothold_lab.images.catalogue import GUESTS, RECIPES
from foothold_lab.images.elf import LITTLE_ENDIAN_64, MACHINES
from tests.unit.harness.samples import KNOWN, facts


def parts(memory: int = 256, append: tuple[str, ...] = ()) -> QemuParts:
    return QemuParts(
        tool=Path("/t"), kernel=Path("/k"), initrd=Path("/i"), memory=memory, append=append
    )


def kernel_words(this: Architecture) -> set[str]:
    argv = command(this, parts(this.memory), 7, "tcg")
    return set(argv[argv.index("-append") + 1].split())


def test_the_command_line_of_x86_64() -> None:
    argv = command(X86_64, parts(append=("more=1",)), 7, "tcg")
    assert argv[:11] == [
        "/t/usr/bin/qemu-system-x86_64", "-M", "q35", "-cpu", "qemu64,+rdrand",
        "-accel", "tcg,thread=single", "-m", "256M", "-nodefaults", "-no-user-config",
    ]  # fmt: skip
    assert argv[argv.index("-kernel") :][:4] == ["-kernel", "/k", "-initrd", "/i"]
    assert "socket,id=line,fd=7" in argv
    at = argv.index("-kernel")
    assert command(X86_64, parts(), 7, "tcg", loads_kernel=False) == argv[:at] + argv[at + 6 :]
    words = argv[argv.index("-append") + 1].split()
    assert words[0] == "console=ttyS0"
    assert words[-3:] == ["foothold.port=/dev/vport0p1", "foothold.payload=1", "more=1"]


def test_with_kvm_the_guest_has_the_processor_of_the_host() -> None:
    argv = command(X86_64, parts(), 7, "kvm")
    assert argv[argv.index("-cpu") + 1].startswith("max")
    assert argv[argv.index("-accel") + 1] == "kvm"


@pytest.mark.parametrize("this", ARCHITECTURES, ids=lambda this: this.name)
def test_every_machine_has_images_and_boot_line(this: Architecture) -> None:
    for image in this.images:
        assert image in RECIPES
    kernel, initrd = RECIPES[this.kernel], RECIPES[this.initrd]
    assert this.kernel in initrd.needs
    assert this.port.image("root") in initrd.needs
    assert kernel.packages
    assert this.port.machine in {*MACHINES.values(), *LITTLE_ENDIAN_64.values()}
    assert {"panic=-1", "quiet"} <= kernel_words(this)
    assert "kvm" not in this.accelerators or RECIPES[this.tool].packages is not None


def test_the_boot_line_chooses_the_levels_of_page_table() -> None:
    words = {this.name: kernel_words(this) for this in ARCHITECTURES}
    assert "no4lvl" in words["riscv64-sv39"]
    assert "no5lvl" in words["riscv64-sv48"]
    assert not words["riscv64-sv57"] & {"no4lvl", "no5lvl"}
    [la57] = [this for this in ARCHITECTURES if this.name == "x86_64-la57"]
    # a kernel that starts by its PVH note stays at four levels
    assert (la57.file, "la57=on" in la57.processor) == ("bzImage", True)


@pytest.mark.parametrize("this", EMULATIONS, ids=lambda this: this.name)
def test_every_emulation_has_its_images(this: object) -> None:
    for image in this.images:  # type: ignore[attr-defined]
        assert image in RECIPES


def test_the_default_images_are_those_of_the_default_plan() -> None:
    """Its images are built before the first verdict."""
    kinds = catalogue(Builder())
    guests = {cell.guest for cell in load_plan(find_plan("default"), KNOWN).cells()}
    waiting = [image for name in guests for image in kinds[name].images]
    needed = set()
    while waiting:
        needed.add(name := waiting.pop())
        waiting += RECIPES[name].needs
    assert needed - set(GUESTS) == set()
    ports = {RECIPES[name].port.name for name in needed}
    assert ports == {"amd64", "arm64", "riscv64", "i386"}, "each port is a download of 13 MB"


@pytest.mark.parametrize(
    ("task_size", "page", "huge", "bits", "levels"),
    [
        (0x7FFFFFFFF000, 4096, 2 << 20, 47, 4),  # x86-64
        (0xFFFFFFFFFFF000, 4096, 2 << 20, 56, 5),  # with five levels
        (0x7FC0000000, 4096, -1, 39, 3),  # UML 6.1, which has no huge pages
        (0x4000000000, 4096, 2 << 20, 38, 3),  # riscv64, sv39
        (0x800000000000, 4096, 2 << 20, 47, 4),  # sv48
        (0x100000000000000, 4096, 2 << 20, 56, 5),  # sv57
        (0x1000000000000, 4096, 2 << 20, 48, 4),  # arm64
        (0x10000000000000, 4096, 2 << 20, 52, 5),  # arm64, LPA2
        (0x10000000000000, 65536, 512 << 20, 52, 3),  # arm64, pages of 64 KiB
        (0xC0000000, 4096, 4 << 20, 32, 2),  # i386
        (0xC0000000, 4096, 2 << 20, 32, 3),  # i386, PAE
    ],
)
def test_levels_follow_from_width_and_pages(
    task_size: int, page: int, huge: int, bits: int, levels: int
) -> None:
    these: Facts = replace(facts(), task_size=task_size, page_size=page, huge_page_size=huge)
    assert (these.bits, these.levels) == (bits, levels)
