"""One file with the images of a store, for another path, user or machine: a tar, compressed by zstd.

The first member is `images.json` (`Contents`). Each image follows in the directory of its name and
key: its manifest first, then its directories, files and links in the order of the manifest. So two
archives of the same images are equal. A reader accepts nothing that the manifests do not list.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import msgspec
import zstandard

from foothold_lab.images import manifest
from foothold_lab.images.cache import Entry
from foothold_lab.images.errors import ImageError, NoSpace
from foothold_lab.images.lock import LockFile
from foothold_lab.images.manifest import MANIFEST, File, Manifest
from foothold_lab.images.regular_file import open_regular

CONTENTS = "images.json"
FORMAT = 1
_LARGEST_DOCUMENT = 64 << 20  # bytes of images.json, or of a manifest
_LARGEST_FILE = 4 << 30  # bytes of a file
_MOST_ENTRIES = 2_000_000  # files, links and directories of all images
_BLOCK = 1 << 20
_LEVEL = 6  # of zstd: 1.4 GB in 20 s on two processors


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an archive has. place: the path of the store that the images were built in.
    keys: the key of each image, by name. lock: the lock of that store.
    """

    format: int = FORMAT
    version: str
    place: str
    keys: dict[str, str]
    lock: LockFile = field(default_factory=LockFile)


class WrongArchive(ImageError):
    """A file is not an archive of images, or one that must not be unpacked."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"the archive is refused: {message}", "make it again with `foothold images pack`"
        )


def write(out: BinaryIO, contents: Contents, entries: Mapping[str, Entry]) -> str:
    """Write an archive of these images, by name, and return its SHA256. Raises ImageError for an
    image that is damaged.
    """
    hashed = _Hashing(out)
    compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=max(2, os.cpu_count() or 2))
    with (
        compressor.stream_writer(cast("BinaryIO", hashed), closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add_document(tar, CONTENTS, msgspec.json.encode(contents, order="sorted"))
        for name in sorted(entries):
            _add_image(tar, entries[name])
    return hashed.digest.hexdigest()


def _add_image(tar: tarfile.TarFile, entry: Entry) -> None:
    top, listed = entry.path.name, entry.manifest
    _add_document(tar, f"{top}/{MANIFEST}", (entry.path / MANIFEST).read_bytes())
    for name in sorted(listed.directories):
        info = tarfile.TarInfo(f"{top}/{name}")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    for name, file in sorted(listed.files.items()):
        info, path = tarfile.TarInfo(f"{top}/{name}"), entry.path / name
        info.mode = stat.S_IMODE(_mode(file))
        if stat.S_ISLNK(_mode(file)):
            info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
            tar.addfile(info)
            continue
        info.size = file.size
        with open_regular(path, follow_links=False) as source:
            reader = _Hashing(source)
            tar.addfile(info, cast("BinaryIO", reader))
        if reader.digest.hexdigest() != file.sha256:
            raise ImageError(f"{path} has changed since it was built", "`foothold images verify`")


def _add_document(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


class _Hashing:
    """Hashes what is written to a file, or read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data

    def flush(self) -> None:
        self._file.flush()


class _Unpacked(io.RawIOBase):
    """The tar inside an archive. Refuses to read a large header, which tarfile reads at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file)
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _BLOCK:
            raise WrongArchive("a header is too large")
        parts = []
        while size and (data := self._reader.read(size)):
            parts.append(data)
            size -= len(data)
        result = b"".join(parts)
        self._at += len(result)
        return result

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self._at:
            raise WrongArchive("its members are not in order")
        while self._at < offset and self.read(min(offset - self._at, _BLOCK)):
            pass
        return self._at


class Reader:
    """Reads an archive, once and in order. `sha256` is the hash of the file when all is read."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the contents. Raises WrongArchive."""
        self._file = _Hashing(file)
        with _damage_refused():
            self._stream = _Unpacked(cast("BinaryIO", self._file))
            self._tar = tarfile.open(fileobj=self._stream, mode="r:")  # noqa: SIM115
            self.contents = msgspec.json.decode(self._document(CONTENTS), type=Contents)
        if self.contents.format != FORMAT:
            raise WrongArchive(f"its format is {self.contents.format}, not {FORMAT}")

    def images(self, into: Path) -> Iterator[tuple[Path, Manifest]]:
        """Unpack each image into a directory below `into`, and yield it with its manifest.

        Every file is compared with the manifest, which must list it. Raises WrongArchive, NoSpace.
        """
        for name, key in sorted(self.contents.keys.items()):
            top = f"{name}-{key[:16]}"
            tree = into / top
            with _damage_refused():
                listed = msgspec.json.decode(self._document(f"{top}/{MANIFEST}"), type=Manifest)
                _check(listed, name, key)
                _check_space(listed, into)
                tree.mkdir()
                self._unpack(tree, listed)
            manifest.write(tree, listed)
            yield tree, listed
        with _damage_refused():
            if self._tar.next() is not None:
                raise WrongArchive("it has more than it lists")
            while self._file.read(_BLOCK):
                pass

    @property
    def sha256(self) -> str:
        """Return the hash of what has been read."""
        return self._file.digest.hexdigest()

    def _document(self, name: str) -> bytes:
        member = self._next(name)
        if not member.isreg() or member.size > _LARGEST_DOCUMENT:
            raise WrongArchive(f"{name} is not a document")
        return b"".join(self._data(member))

    def _next(self, name: str) -> tarfile.TarInfo:
        member = self._tar.next()
        self._tar.members.clear()  # type: ignore[attr-defined]
        if member is None or member.name != name or member.issparse():
            raise WrongArchive(f"{name} is not where it should be")
        return member

    def _data(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        rest = member.size
        self._stream.seek(member.offset_data)
        while rest:
            data = self._stream.read(min(rest, _BLOCK))
            if not data:
                raise WrongArchive(f"it ends in {member.name}")
            rest -= len(data)
            yield data

    def _unpack(self, tree: Path, listed: Manifest) -> None:
        """Unpack the directories, files and links of an image, in the order of `write`."""
        for name in sorted(listed.directories):
            if not self._next(f"{tree.name}/{name}").isdir():
                raise WrongArchive(f"{name} is not a directory")
            (tree / name).mkdir()
        for name, file in sorted(listed.files.items()):
            member = self._next(f"{tree.name}/{name}")
            place, is_link = tree / name, stat.S_ISLNK(_mode(file))
            if member.issym() if is_link else member.isreg() and member.size == file.size:
                digest = (
                    _link(member.linkname, place) if is_link else _store(self._data(member), place)
                )
            else:
                raise WrongArchive(f"{name} is not what its manifest says")
            if digest != file.sha256:
                raise WrongArchive(f"the contents of {name} are not those of its manifest")
            if not is_link:
                place.chmod(stat.S_IMODE(_mode(file)))
            os.utime(place, ns=(file.mtime, file.mtime), follow_symlinks=False)
        # at the end: a directory may be read-only
        for name, mode in sorted(listed.directories.items(), reverse=True):
            (tree / name).chmod(stat.S_IMODE(mode))


def _link(target: str, place: Path) -> str:
    place.symlink_to(target)
    return hashlib.sha256(os.fsencode(target)).hexdigest()


def _store(blocks: Iterator[bytes], place: Path) -> str:
    """Write a new file, without blocks of zeros, and return the hash of its contents."""
    digest = hashlib.sha256()
    with place.open("xb") as out:
        for data in blocks:
            digest.update(data)
            if data.count(0) == len(data):
                out.seek(len(data), os.SEEK_CUR)
            else:
                out.write(data)
        out.truncate()
    return digest.hexdigest()


def _check(listed: Manifest, name: str, key: str) -> None:
    """Raise WrongArchive for a manifest that is not that of the image, or has an unsafe path."""
    if (listed.name, listed.key) != (name, key) or listed != listed.sealed():
        raise WrongArchive(f"the manifest of {name} has changed")
    if len(listed.files) + len(listed.directories) > _MOST_ENTRIES:
        raise WrongArchive(f"{name} has too many files")
    for path in (*listed.files, *listed.directories):
        parts = PurePosixPath(path)
        if str(parts) != path or parts.is_absolute() or ".." in parts.parts or "\0" in path:
            raise WrongArchive(f"{path!r} is not a path in an image")
        # so a file can never be written through a link
        if len(parts.parts) > 1 and str(parts.parent) not in listed.directories:
            raise WrongArchive(f"the directory of {path!r} is not listed")
    if MANIFEST in listed.files or listed.files.keys() & listed.directories.keys():
        raise WrongArchive(f"{name} lists a file twice")
    for path, file in listed.files.items():
        mode = _mode(file)
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) or not 0 <= file.size <= _LARGEST_FILE:
            raise WrongArchive(f"{path!r} is neither a file nor a link of a usual size")
    modes = (*map(_mode, listed.files.values()), *listed.directories.values())
    if any(mode & (stat.S_ISUID | stat.S_ISGID) for mode in modes):
        raise WrongArchive(f"{name} has a program that changes its user")


def _check_space(listed: Manifest, into: Path) -> None:
    wanted, free = sum(file.size for file in listed.files.values()), shutil.disk_usage(into).free
    if wanted > free:
        raise NoSpace(
            f"{listed.name} needs {wanted >> 20} MiB, {free >> 20} MiB are free under {into}",
            "free some space, or set FOOTHOLD_CACHE",
        )


def _mode(file: File) -> int:
    return file.mode or 0


@contextlib.contextmanager
def _damage_refused() -> Iterator[None]:
    """Raise WrongArchive for data that is not that of an archive."""
    try:
        yield
    except (zstandard.ZstdError, tarfile.TarError, msgspec.MsgspecError, ValueError) as error:
        raise WrongArchive(f"it is damaged: {error}") from error
    except FileExistsError as error:
        raise WrongArchive(f"{error.filename} is there twice") from error
