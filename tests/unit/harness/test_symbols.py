"""Names for a debugger: what comes out of /proc/kallsyms is an ELF file that says the same."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from foothold_lab.harness.interactive.symbols import (
    Symbol,
    has_symbols,
    parse_kallsyms,
    symbol_file,
)

KALLSYMS = """\
0000000060001000 t _text
0000000060143200 T do_munmap
00000000601430ea t do_mmap
00000000601430ea t do_mmap_too
0000000060900000 d no_function
0000000000000000 T hidden
0000000062000000 t of_a_module\t[module]
"""


def table(image: bytes) -> dict[str, tuple[int, int]]:
    """Names with addresses and sizes, as an ELF reader finds them."""
    (sections,) = struct.unpack_from("<Q", image, 40)
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, sections + 64 * n) for n in range(5)]
    [symbols] = [header for header in headers if header[1] == 2]
    names = headers[symbols[6]]
    found = {}
    for at in range(symbols[4] + 24, symbols[4] + symbols[5], 24):
        name, _, _, section, address, size = struct.unpack_from("<IBBHQQ", image, at)
        assert section == 1
        start = names[4] + name
        found[image[start : image.index(b"\0", start)].decode()] = (address, size)
    return found


def test_functions_are_found_by_name(tmp_path: Path) -> None:
    symbols = parse_kallsyms(KALLSYMS)
    assert Symbol(0x601430EA, "do_mmap") in symbols
    assert "no_function" not in {symbol.name for symbol in symbols}
    image = symbol_file(symbols)
    names = table(image)
    assert names["do_mmap"] == names["do_mmap_too"] == (0x601430EA, 0x60143200 - 0x601430EA)
    assert names["_text"][0] == 0x60001000
    assert "hidden" not in names
    assert "of_a_module" not in names
    (tmp_path / "image").write_bytes(image)
    assert has_symbols(tmp_path / "image")


def test_a_kernel_that_tells_no_addresses_has_no_symbols() -> None:
    assert parse_kallsyms("0000000000000000 T do_mmap\n") == []


def test_a_hostile_guest_names_what_it_likes() -> None:
    lines = (
        "zz t not_hexadecimal", "ffffffffffffffff t last", "-1 t negative", "1_0 t underscore",
        "\u0661 t digit", "0" * 5000 + "1 t long", "60001000 tT two_kinds", "60001000 t",
        "60001000 t \u202e\U0001f600", "fffffffffffff000 t high", "1 t low",
    )  # fmt: skip
    symbols = parse_kallsyms("\n".join(lines))
    assert [symbol.name for symbol in symbols] == ["low", "\u202e\U0001f600"]
    assert len(table(symbol_file(symbols))) == 2


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", bytes(64), bytes(40) + b"\xff" * 24, b"\xff" * 64]
)
def test_a_damaged_kernel_has_no_symbols(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "linux"
    path.write_bytes(content)
    assert not has_symbols(path)
