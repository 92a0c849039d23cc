"""The start-up of Go 1.24, as mappings with symbolic addresses (data/golden/arenas-1.24.json)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from foothold_lab.allocator.trace import Call

GOLDEN_FOLDER = Path(__file__).parent / "data/golden"
GOLDEN = json.loads((GOLDEN_FOLDER / "arenas-1.24.json").read_text())
CASES = {case["name"]: case for case in GOLDEN["cases"]}
GC_BITS = 65536  # bytes of the last two mappings of the start-up
_LINE = re.compile(r"\d+ +(mmap|munmap)\((.*)\) = (0x[0-9a-f]+|0|-1 ENOMEM)")
_PROT = {"PROT_NONE": 0, "PROT_READ|PROT_WRITE": 3}


def expected(case: dict[str, Any], hints: int = 64) -> list[str]:
    """Return the symbolic calls of a case, with those of each hint."""
    lines: list[str] = []
    refused: list[str] = []
    for line in case["calls"]:
        if "{hint}" in line or "(moved" in line:
            refused.append(line)
            continue
        if refused:
            for i in range(hints):
                lines += [each.replace("{hint}", hex(i << 40 | 0xC0 << 32)) for each in refused]
            refused = []
        lines.append(line)
    return lines


def from_strace(text: str) -> list[Call]:
    """Read the mappings of a program under strace, from its execve to the bits of its first span."""
    calls: list[Call] = []
    for line in text.rpartition("execve(")[2].splitlines():
        if not (match := _LINE.match(line)):
            continue
        address, length, *rest = match[2].split(", ")
        result = -12 if match[3].startswith("-1") else int(match[3], 16)
        args: tuple[int, ...] = (0 if address == "NULL" else int(address, 16), int(length))
        if rest:
            args += (_PROT[rest[0]], 0x22 | (0x10 if "MAP_FIXED" in rest[1] else 0))
        calls.append(Call(name=match[1], args=args, result=result))
    bits = [at for at, call in enumerate(calls) if call.args[:3] == (0, GC_BITS, 3)]
    return calls[: bits[1] + 1] if len(bits) > 1 else calls


def symbolic(calls: Iterable[Call]) -> list[str]:
    """Name the ranges that the kernel chose by letters, in order."""
    ranges: list[tuple[int, int, str]] = []
    letters = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

    def name(address: int) -> str:
        for start, end, letter in reversed(ranges):
            if start <= address < end:
                return letter if address == start else f"{letter}+{address - start:#x}"
        return hex(address) if address else "NULL"

    lines = []
    for call in calls:
        if not call.args:
            lines.append(str(call))
            continue
        addr, length, *rest = call.args
        if not rest:
            lines.append(f"{call.name}({name(addr)}, {length}) = {call.result}")
            continue
        kind = "FIXED" if rest[1] & 0x10 else "hint" if addr else "anywhere"
        asked = name(addr) if kind == "FIXED" else hex(addr) if addr else "NULL"
        if call.result > 0 and call.result != addr:
            letter = "moved" if addr else next(letters)
            ranges.append((call.result, call.result + length, letter))
        result = name(call.result) if call.result > 0 else str(call.result)
        prot = "RW" if rest[0] else "NONE"
        lines.append(f"mmap({asked}, {length}, {prot}, {kind}) = {result}")
    return lines
