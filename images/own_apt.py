"""An apt of Foothold's own, for machines without apt: Fedora, Arch, openSUSE, NixOS, Alpine.

It is made of Debian 12 packages, which are listed in the lock (`apt` in lock.json) with the path in
the archive and the hash. Debian 12 receives no more point releases, so mirrors keep these files. The
hash verifies a file, so nothing else is needed to download it. The programs run with the loader and
the libraries of these packages, so the libc of the machine does not matter.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import re
import shutil
import ssl
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from foothold_lab.images import elf
from foothold_lab.images.cache import Cache, Entry
from foothold_lab.images.errors import ImageError, WrongPackage
from foothold_lab.images.mirror import CHOOSE_MIRROR
from foothold_lab.images.progress import Progress

NAME = "apt"  # of the image
LOCK = Path(__file__).with_name("lock.json")
SUITE = "bookworm"
PACKAGES = ("apt", "dpkg", "gpgv", "tar", "util-linux")
# these and the libraries that their programs are linked with
SELECTED = (
    *PACKAGES,
    r"lib(acl1|apt-pkg6\.0|bz2-1\.0|c6|cap2|ffi8|gcc-s1|gcrypt20|gmp10|gnutls30|gpg-error0|hogweed6)",
    r"lib(idn2-0|lz4-1|lzma5|md0|nettle8|p11-kit0|pcre2-8-0|seccomp2|selinux1|smartcols1|systemd0)",
    r"lib(stdc\+\+6|tasn1-6|udev1|unistring2|xxhash0|zstd1)|zlib1g",
)
_PROGRAMS = ("apt-get", "dpkg", "dpkg-deb", "gpgv", "prlimit", "tar")
_TABLES = ("cputable", "tupletable")  # Debian's names of architectures
_METHODS = "usr/lib/apt/methods"
_LIBRARIES = tuple(f"{folder}/x86_64-linux-gnu" for folder in ("lib", "usr/lib"))
_LOADER = "ld-linux-x86-64.so.2"
_SPACE = 120 << 20  # bytes of disk
_TIMEOUT = 30  # seconds that a connection may take to open, or may be silent
_CONNECTIONS = 4
_PATH = r"pool/main/[A-Za-z0-9+.~_/%-]+\.deb"
# where distributions keep the certificates of authorities, if Python does not know
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                 "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem")  # fmt: skip
# apt 2.6 runs a program with this name to verify a signature:
# apt-key OPTION... verify --status-fd N SIGNATURE FILE. The script apt-key needs tools of GNU.
_APT_KEY = """\
#!/bin/sh
while [ $# -gt 0 ] && [ "$1" != verify ]; do shift; done
shift || exit 111
for key in "${FOOTHOLD_ARCHIVE_KEYS:?}"/*.gpg; do set -- --keyring "$key" "$@"; done
exec "${0%/*}/gpgv" --ignore-time-conflict "$@"
"""


@dataclass(frozen=True, order=True, kw_only=True)
class ArchiveFile:
    """A package by its path in an archive. Size in bytes. Raises ValueError for any other path."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(_PATH, self.path) or ".." in self.path:
            raise ValueError(f"{self.path!r} is not the path of a package")


@dataclass(frozen=True)
class _Lock:
    """The part of lock.json that is used here."""

    apt: list[ArchiveFile]


@dataclass(frozen=True, kw_only=True)
class PackageTools:
    """The programs that resolve, download and unpack Debian packages.

    folder: the directory of Foothold's own programs, None for those of the machine.
    options: what apt-get needs to be told in addition.
    entry: the image that the programs are in; it stays while this object lives.
    """

    folder: Path | None = None
    options: Mapping[str, str]
    entry: Entry | None = None

    def program(self, name: str) -> str:
        """Return the path of a program, or its name if it is one of the machine."""
        return name if self.folder is None else str(self.folder / name)

    def environment(self, keys: Path) -> dict[str, str]:
        """Return the environment for these programs. `keys`: the directory of the archive keys."""
        found = {**os.environ, "LC_ALL": "C", "FOOTHOLD_ARCHIVE_KEYS": str(keys)}
        if self.folder is not None:  # dpkg-deb runs tar
            found["PATH"] = f"{self.folder}:{found.get('PATH', os.defpath)}"
        return found


def host_has_apt() -> bool:
    """Return whether this machine has Debian's tools. The apt-get of an RPM distribution has no dpkg."""
    return all(map(shutil.which, ("apt-get", "dpkg-deb", "dpkg")))


def locked_files(lock: Path = LOCK) -> list[ArchiveFile]:
    """Return the packages that Foothold's apt is made of."""
    return msgspec.json.decode(lock.read_bytes(), type=_Lock).apt


def image_path(cache: Cache) -> Path:
    """Return the directory in the store of Foothold's apt, whether it exists or not."""
    return cache.path(NAME, _key(cache, locked_files()))


def obtain(cache: Cache, mirror: str, progress: Progress) -> PackageTools:
    """Return Foothold's own apt. Downloads it if the store does not have it."""
    files = locked_files()

    def build(out: Path) -> Mapping[str, object]:
        progress(f"downloading apt, {sum(file.size for file in files) >> 20} MiB")
        tree = out.with_name("packages")
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for data in pool.map(lambda file: _download(mirror, file), files):
                _unpack(data, tree)
        _install(tree, out, cache.path(NAME, key))
        return {"packages": msgspec.to_builtins(files)}

    key = _key(cache, files)
    entry = cache.obtain(NAME, key, build, space=_SPACE, progress=progress)
    folder = entry.path / "bin"
    options = {
        "Dir::Bin::methods": str(entry.path / "methods"),
        "Dir::Bin::apt-key": str(folder / "apt-key"),
        "Dir::Bin::gpg": str(folder / "gpgv"),
        "Dir::Bin::dpkg": str(folder / "dpkg"),
        **{f"Dir::dpkg::{name}": str(entry.path / "share" / name) for name in _TABLES},
        # files of another apt
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
    }
    if certificates := _certificates():
        options["Acquire::https::CAInfo"] = certificates
    return PackageTools(folder=folder, options=options, entry=entry)


def _key(cache: Cache, files: Sequence[ArchiveFile]) -> str:
    """Hash what the image is made of, and its place: programs contain the path of their loader."""
    sources = [Path(__file__).read_bytes(), Path(elf.__file__).read_bytes()]
    material = (msgspec.to_builtins(files), sources, str(cache.root))
    return hashlib.sha256(msgspec.json.encode(material)).hexdigest()


def _download(mirror: str, file: ArchiveFile) -> bytes:
    """Return the bytes of a package. Raises ImageError if they are not those of the lock."""
    url = f"{mirror}/{file.path}"
    try:
        # check_address has allowed http, https and file only
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310
            data = answer.read(file.size + 1)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ImageError(f"cannot download {url}: {reason}", CHOOSE_MIRROR) from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise WrongPackage(f"{url} is not the package of the lock", CHOOSE_MIRROR)
    return bytes(data)


def _unpack(package: bytes, tree: Path) -> None:
    """Unpack programs and libraries of a verified package, without dpkg; deb(5)."""
    [data] = (data for name, data in _ar_members(package) if name.startswith("data.tar"))
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if path.parts[0:1] not in (("bin",), ("lib",), ("usr",)) or ".." in path.parts:
                continue
            place = tree / path
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            elif member.issym() and not member.linkname.startswith("/"):
                place.symlink_to(member.linkname)
            elif member.isreg() and (contents := archive.extractfile(member)):
                place.write_bytes(contents.read())
                place.chmod(member.mode & 0o777)


def _ar_members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the contents of each member of an ar archive; ar(5)."""
    at = len(b"!<arch>\n")
    while at < len(archive):
        header = archive[at : at + 60]
        size = int(header[48:58])
        at += 60
        yield header[:16].decode().rstrip(" /"), archive[at : at + size]
        at += size + size % 2


def _install(tree: Path, out: Path, target: Path) -> None:
    """Copy the programs of unpacked packages, the methods of apt, and the libraries that they need."""
    programs, methods, libraries = (out / name for name in ("bin", "methods", "lib"))
    libraries.mkdir()
    programs.mkdir()
    shutil.copytree(tree / _METHODS, methods, symlinks=True)
    for name in _PROGRAMS:
        [found] = (
            tree / folder / name for folder in ("bin", "usr/bin") if (tree / folder / name).exists()
        )
        shutil.copy2(found, programs / name)
    (out / "share").mkdir()
    for name in _TABLES:
        shutil.copy2(tree / "usr/share/dpkg" / name, out / "share")
    (programs / "apt-key").write_text(_APT_KEY)
    (programs / "apt-key").chmod(0o755)
    relocated = [
        path
        for path in (*programs.iterdir(), *methods.iterdir())
        if not path.is_symlink() and elf.is_elf(path)
    ]
    places = [tree / folder for folder in _LIBRARIES]
    for library in elf.closure(relocated, places):
        shutil.copy2(library.resolve(), libraries / library.name)
    [loader] = (place / _LOADER for place in places if (place / _LOADER).exists())
    shutil.copy2(loader.resolve(), libraries / _LOADER)
    for path in relocated:
        elf.relocate(path, str(target / "lib" / _LOADER), str(target / "lib"))


def _certificates() -> str:
    """Return the file with the certificates of authorities on this machine, empty if it is unknown."""
    known = ssl.get_default_verify_paths().cafile
    return next((each for each in (known, *_CERTIFICATES) if each and Path(each).is_file()), "")
