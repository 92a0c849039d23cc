"""What is done to programs so that they run where they lie."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from foothold_lab.images import elf


def test_a_segment_without_bytes_is_not_taken_for_the_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the linker makes it of a UML kernel of 7.2; patchelf would move it in memory."""
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
