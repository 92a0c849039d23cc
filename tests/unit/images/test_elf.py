"""Relocation of ELF programs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from foothold_lab.images import elf
from foothold_lab.images.elf_file import ElfError, read_elf


def test_an_empty_segment_is_not_taken_for_the_file_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ELF file like a UML 7.2 kernel, which patchelf alone would damage."""
    head = (
        b"\x7fELF\2\1\1"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x60000000, 0, 0x334, 0x334, 0x1000)
    bss = struct.pack("<IIQQQQQQ", 1, 6, 0, 0x60540000, 0, 0, 0x44004, 0x4000)
    program = tmp_path / "linux"
    program.write_bytes(head + load + bss)
    asked: list[str] = []
    monkeypatch.setattr(elf, "_patchelf", lambda *words: asked.extend(words))
    elf.relocate(program, "lib/ld.so", "$ORIGIN/lib")
    there = program.read_bytes()
    assert there[: 64 + 56] == head + load
    assert struct.unpack_from("<IIQQ", there, 64 + 56) == (1, 6, 0x4000, 0x60540000)
    assert asked[-1] == str(program)


@pytest.mark.parametrize(
    ("ident", "number", "name"),
    [
        (b"\2\1", 62, "x86_64"),
        (b"\2\1", 21, "ppc64le"),
        (b"\2\2", 21, "ppc64"),
        (b"\2\2", 22, "s390x"),
        (b"\2\1", 8, "mips64"),
        (b"\1\1", 8, "mips"),
        (b"\1\1", 40, "arm"),
        (b"\2\1", 258, "loongarch64"),
    ],
)
def test_names_the_machine_of_a_file(ident: bytes, number: int, name: str, tmp_path: Path) -> None:
    order = "<H" if ident[1] == 1 else ">H"
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF" + ident + bytes(12) + struct.pack(order, number))
    assert elf.machine(file) == name


def test_the_end_of_an_image_is_that_of_its_last_segment(tmp_path: Path) -> None:
    head = (
        b"\x7fELF\2\1\1"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    )
    text = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x10000000000, 0, 0x334, 0x334, 0x1000)
    bss = struct.pack("<IIQQQQQQ", 1, 6, 0, 0x10000002000, 0, 0, 0x1004, 0x1000)
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 1 << 60, 0, 0, 0x1000, 0x10)
    program = tmp_path / "far"
    program.write_bytes((head + text + bss + stack).ljust(0x334, b"\0"))
    file = read_elf(program)
    assert file
    assert file.image_end == 0x10000003004
    program.write_bytes(head)
    with pytest.raises(ElfError):
        read_elf(program)
    program.write_text("#!/bin/sh\n")
    assert read_elf(program) is None
