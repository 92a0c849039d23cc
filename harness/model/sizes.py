"""Sizes in bytes as text: 300M is 300 MiB."""

from __future__ import annotations

import re

from foothold_lab.harness.model.errors import UsageError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(
    r"(?P<number>0x[0-9a-f]+|[0-9]+)\s*(?P<unit>[KMGT]?)(iB|B)?", re.IGNORECASE | re.ASCII
)
_DIGITS = 20  # no address has more; Python refuses to read thousands of digits


def parse_size(text: str) -> int:
    """Read `300M`, `2GiB`, `4096` or `0x2443a68`. Raises UsageError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise UsageError(
            f"{text!r} is not a size", "write a number with K, M, G or T, such as 300M"
        )
    number = match["number"].lower()
    digits = number.removeprefix("0x").lstrip("0") or "0"
    base = 16 if number.startswith("0x") else 10
    size = int(digits[: _DIGITS + 1], base) * _UNITS[match["unit"].upper()]
    if size >= 1 << 63:
        raise UsageError(f"{text} is more than any address space", "give a size below 8388608T")
    return size


def format_size(size: int) -> str:
    """Write a size with the largest unit that divides it: 314572800 is 300M."""
    for unit in ("T", "G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
