"""Initramfs archives, and kernels inside boot images."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import cramjam
import pytest
import zstandard

from foothold_lab.images.errors import ImageError
from foothold_lab.images.initramfs import archive, unpacked, vmlinux


def tree(root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "tool").write_bytes(b"\x7fELF tool")
    (root / "bin" / "tool").chmod(0o755)
    (root / "bin" / "link").symlink_to("tool")
    (root / "odd name").write_bytes(b"12345")
    return root


def records(data: bytes) -> dict[str, tuple[int, int, bytes]]:
    """Read a newc archive, independently of the writer: name -> (mode, uid, contents)."""
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        field = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, uid, size, name_size = field[1], field[2], field[6], field[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        start = at + (110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, uid, data[start : start + size])
        at = start + (size + 3) // 4 * 4


def test_an_archive_contains_the_tree_owned_by_root(tmp_path: Path) -> None:
    found = records(archive(tree(tmp_path / "t")))
    assert found["bin/tool"] == (0o100755, 0, b"\x7fELF tool")
    assert found["bin/link"][2] == b"tool"
    assert found["bin/link"][0] & 0o170000 == 0o120000
    assert found["odd name"][2] == b"12345"
    assert found["bin"][0] & 0o170000 == 0o040000


def test_an_archive_with_a_prefix_contains_its_directories(tmp_path: Path) -> None:
    found = records(archive(tree(tmp_path / "t"), prefix="lib/modules/"))
    assert found["lib/modules/odd name"][2] == b"12345"
    assert {"lib", "lib/modules"} <= set(found)


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "a"), tree(tmp_path / "b")
    assert archive(one) == archive(two)


@pytest.mark.skipif(not shutil.which("cpio"), reason="no cpio here to read it with")
def test_cpio_reads_an_archive(tmp_path: Path) -> None:
    data = archive(tree(tmp_path / "t"))
    listed = subprocess.run(["cpio", "-it"], input=data, capture_output=True, check=True).stdout
    assert set(listed.decode().splitlines()) == {"bin", "bin/link", "bin/tool", "odd name"}


def lz4_legacy(data: bytes) -> bytes:
    out = b"\x02\x21\x4c\x18"
    for at in range(0, len(data), 8 << 20):
        block = bytes(cramjam.lz4.compress_block(data[at : at + (8 << 20)], store_size=False))
        out += struct.pack("<I", len(block)) + block
    return out


KERNEL = b"\x7fELF" + bytes(range(256)) * 100
PACKERS = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "bzip2": bz2.compress,
    "lz4": lz4_legacy,
}


def bz_image(payload: bytes, *, offset: int = 0x100) -> bytes:
    setup = bytearray(512 * 5)
    setup[0x1F1] = 4
    setup[0x202:0x206] = b"HdrS"
    whole = payload + struct.pack("<I", len(KERNEL))
    struct.pack_into("<II", setup, 0x248, offset, len(whole))
    return bytes(setup) + bytes(offset) + whole


@pytest.mark.parametrize("packer", PACKERS)
def test_finds_the_kernel_inside_a_boot_image(packer: str) -> None:
    assert vmlinux(bz_image(PACKERS[packer](KERNEL))) == KERNEL


def test_finds_the_kernel_inside_an_efi_program() -> None:
    """Debian's kernel for loong64: CONFIG_EFI_ZBOOT."""
    payload = zstandard.compress(KERNEL)
    head = struct.pack("<2sH4sII8x4s", b"MZ", 0, b"zimg", 512, len(payload), b"zstd")
    assert unpacked(head.ljust(512, b"\0") + payload + b"the rest of the program") == KERNEL


@pytest.mark.parametrize("image", [KERNEL, b"MZ%. a zImage of 32-bit ARM", b""])
def test_leaves_a_kernel_that_qemu_can_start(image: bytes) -> None:
    assert unpacked(image) == image


@pytest.mark.parametrize("image", [b"", b"no kernel" * 1000, bz_image(b"unknown packing")])
def test_rejects_a_file_that_is_not_a_kernel(image: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        vmlinux(image)
    assert "bzImage" in caught.value.remedy
