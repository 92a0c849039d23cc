"""Boot files for QEMU: newc archives (initramfs), and the kernel inside a bzImage."""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import struct
import zlib
from pathlib import Path

import zstandard

from foothold_lab.images.errors import ImageError

_REMEDY = "use a bzImage as in Debian's packages, or a vmlinux"


def archive(tree: Path, *, prefix: str = "") -> bytes:
    """Pack a tree as a newc archive: all files owned by root, times zero, names sorted.

    `prefix` is added before every name (`modules/`). Concatenated archives are one initramfs; see
    Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
    """
    out = bytearray()
    parent = prefix.rstrip("/")
    while parent:  # the directories of the prefix
        out += _record(parent, stat.S_IFDIR | 0o755, b"")
        parent = parent.rpartition("/")[0]
    for folder, directories, names in os.walk(tree):
        directories.sort()
        for name in sorted(directories + names):
            path = Path(folder) / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                data = str(path.readlink()).encode()
            elif stat.S_ISREG(mode):
                data = path.read_bytes()
            elif stat.S_ISDIR(mode):
                data = b""
            else:
                continue
            out += _record(prefix + str(path.relative_to(tree)), mode, data)
    return bytes(out + _record("TRAILER!!!", 0, b""))


def _record(name: str, mode: int, data: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def vmlinux(bz_image: bytes) -> bytes:
    """Return the ELF kernel inside an x86 bzImage. QEMU starts it by its PVH note, so that it need
    not decompress itself under emulation.

    Source: Documentation/arch/x86/boot.rst, payload_offset and payload_length (2.08 and later).
    Raises ImageError if the file is not a bzImage or its compression is unknown.
    """
    if len(bz_image) < 0x260 or bz_image[0x202:0x206] != b"HdrS":
        raise ImageError("the file is not an x86 Linux kernel image", _REMEDY)
    sectors = bz_image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bz_image, 0x248)
    start = (sectors + 1) * 512 + offset
    return _decompressed(bz_image[start : start + length])


def unpacked(image: bytes) -> bytes:
    """Return the kernel inside an EFI program (zboot), which QEMU cannot start; any other image
    unchanged.

    Source: drivers/firmware/efi/libstub/zboot-header.S of Linux: the words `MZ` and `zimg`, offset
    and length of the payload.
    """
    if image[:2] != b"MZ" or image[4:8] != b"zimg":
        return image
    offset, length = struct.unpack_from("<II", image, 8)
    return _decompressed(image[offset : offset + length])


def _decompressed(payload: bytes) -> bytes:
    """Decompress a kernel as its build compressed it."""
    # the last four bytes of the payload are the unpacked size, which is not part of the stream
    if payload[:2] == b"\x1f\x8b":
        return zlib.decompressobj(wbits=31).decompress(payload)
    if payload[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(payload)
    if payload[:4] == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(payload)
    if payload[:4] == b"\x02\x21\x4c\x18":
        return _lz4_legacy(payload[4:])
    if payload[:3] == b"BZh":
        return bz2.BZ2Decompressor().decompress(payload)
    raise ImageError(
        f"the kernel has an unknown compression, magic number {payload[:6].hex()}", _REMEDY
    )


def _lz4_legacy(blocks: bytes) -> bytes:
    """Unpack LZ4's legacy frame, which the kernel's build uses: lz4_Frame_format.md."""
    import cramjam  # of few kernels

    out, unpacked, at = bytearray(), bytearray(8 << 20), 0
    while at + 4 <= len(blocks):
        (size,) = struct.unpack_from("<I", blocks, at)
        block = blocks[at + 4 : at + 4 + size]
        if size == 0 or len(block) < size:
            break  # the unpacked size follows the last block
        out += unpacked[: cramjam.lz4.decompress_block_into(block, unpacked)]
        at += 4 + size
    return bytes(out)
