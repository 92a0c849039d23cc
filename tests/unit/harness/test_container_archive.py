"""Files of containers: the engine sends what a container has, which may have no end."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.guests import container_archive
from foothold_lab.harness.guests.accounts import Account
from foothold_lab.harness.guests.container_archive import (
    directory_for,
    read_file,
    tar_of,
    tar_of_tree,
)
from foothold_lab.harness.model.errors import GuestError


def archive(*members: tuple[str, bytes, bytes]) -> bytes:
    """Pack members: name, type, content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/shadow"
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Sent:
    """A container whose engine sends these blocks for every path."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def get_archive(self, path: str) -> tuple[Iterator[bytes], dict[str, str]]:
        return self._blocks, {"name": path}


def test_reads_the_bytes_of_one_file() -> None:
    data = archive(("../../evil", tarfile.REGTYPE, b"content"))
    assert read_file(Sent(iter((data[:100], data[100:]))), "/file") == b"content"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_reads_nothing_else(kind: bytes) -> None:
    with pytest.raises(GuestError, match="is not a file in the container"):
        read_file(Sent(iter((archive(("file", kind, b"")),))), "/file")


def test_a_file_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_archive, "MOST_BYTES", 1 << 20)
    with pytest.raises(GuestError, match="has more than 1 MiB in the container"):
        read_file(Sent(itertools.repeat(bytes(1 << 16))), "/endless")


@pytest.mark.parametrize("size", [0, 1, 512, 9_000, 100_000])
def test_an_archive_ends_with_its_two_empty_blocks(tmp_path: Path, size: int) -> None:
    """Podman fails at times if more follows: it writes to a process that has ended."""
    (tmp_path / "file").write_bytes(b"x" * size)
    for data in (
        tar_of(tmp_path),
        tar_of_tree(tmp_path),
        directory_for(Account(0, 0), "/d", 0o755, tmp_path),
    ):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            last = archive.getmembers()[-1]
        blocks = -(-size // tarfile.BLOCKSIZE)
        assert len(data) == last.offset_data + (blocks + 2) * tarfile.BLOCKSIZE
        assert not any(data[-2 * tarfile.BLOCKSIZE :])
