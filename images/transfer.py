"""Packs the images of a store into one file, and unpacks them into another store, at any path.

The key of an image is a hash that includes the path of its store, because programs contain the path
of their loader. In a store at another path, an image gets the key that it would have had there, and
its programs the new paths. An image with the old path in any other file (a disk) is left out; it is
made again from the others when it is needed, without a download.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import msgspec

from foothold_lab.images import archive, elf, lock, manifest
from foothold_lab.images.archive import Contents, Reader, WrongArchive
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Entry
from foothold_lab.images.elf_file import read_elf
from foothold_lab.images.errors import ImageError
from foothold_lab.images.manifest import File, Manifest
from foothold_lab.images.progress import Progress
from foothold_lab.images.regular_file import open_regular, overlapping_blocks


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What was packed or unpacked: names of images, the hash of the file, and what was left out."""

    images: tuple[str, ...]
    sha256: str
    left_out: tuple[str, ...] = ()


class AnotherVersion(ImageError):
    """An archive was packed by a version of Foothold with other images."""


def pack(builder: Builder, file: Path, version: str, names: Iterable[str] = ()) -> Transfer:
    """Write the images of the store with these names, and those that they need, into a new file;
    by default all. Raises ImageError if one is not built.
    """
    wanted = set(_with_needs(builder, names))
    entries = _entries(builder, wanted or None)
    for name in sorted(wanted - entries.keys()):
        raise ImageError(f"the image {name} is not built", f"`foothold images build {name}`")
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with fresh.open("xb") as out:
            done = _write(builder, out, version, entries)
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    return done


def pack_some(builder: Builder, out: BinaryIO, version: str, names: Iterable[str]) -> Transfer:
    """Write those of these images that the store has into an open file, without those that they
    need. Raises ImageError if it has none of them.
    """
    return _write(builder, out, version, _entries(builder, set(names)))


def _entries(builder: Builder, names: Set[str] | None) -> Mapping[str, Entry]:
    """Return those of these images that are in the store, by name; None: of all images."""
    cache = builder.cache
    keys = builder.keys(cache.built_at(), cache.root / "lock.json")
    wanted = keys.keys() if names is None else keys.keys() & names
    found = {name: cache.get(name, keys[name]) for name in wanted}
    return {name: entry for name, entry in found.items() if entry}


def _write(builder: Builder, out: BinaryIO, version: str, entries: Mapping[str, Entry]) -> Transfer:
    if not entries:
        raise ImageError("the store has no images of this version", "`foothold images build`")
    contents = Contents(
        version=version,
        place=str(builder.cache.built_at()),
        keys={name: entry.manifest.key for name, entry in entries.items()},
        lock=_lock_of(entries.values(), builder),
    )
    digest = archive.write(out, contents, entries)
    return Transfer(images=tuple(sorted(entries)), sha256=digest)


def _with_needs(builder: Builder, names: Iterable[str]) -> Iterable[str]:
    for name in names:
        yield name
        yield from _with_needs(builder, builder.needs(name))


def _lock_of(entries: Iterable[Entry], builder: Builder) -> lock.LockFile:
    """Return the part of the store's lock that these images were built with."""
    known = lock.read(builder.cache.root / "lock.json")
    names = {builder.set_name(entry.manifest.name) for entry in entries}
    return lock.LockFile(
        sets={name: debs for name, debs in known.sets.items() if name in names},
        instead_of={name: debs for name, debs in known.instead_of.items() if name in names},
    )


def unpack(
    builder: Builder, file: Path, version: str, progress: Progress, sha256: str = ""
) -> Transfer:
    """Add the images of an archive to the store, if all of it is right.

    Raises WrongArchive, AnotherVersion, and NoSpace; then the store is as before.
    """
    cache = builder.cache
    with open_regular(file) as source, cache.staging() as scratch:
        reader = Reader(source)
        contents = reader.contents
        old, new = _keys(builder, contents, scratch)
        if unknown := sorted(name for name, key in contents.keys.items() if old.get(name) != key):
            raise AnotherVersion(
                f"{file} was packed by Foothold {contents.version}, and this is {version}: "
                f"other images are used here, for instance {', '.join(unknown[:3])}",
                "unpack it with that version, or pack it again with this one",
            )
        moves = {
            f"{contents.place}/store/{name}-{old[name][:16]}":
            f"{cache.root}/store/{name}-{new[name][:16]}"
            for name in contents.keys
        }  # fmt: skip
        ready, left_out = list[tuple[Path, Manifest]](), list[str]()
        for tree, listed in reader.images(scratch):
            progress(f"unpacked {listed.name}", transient=True)
            if contents.place == str(cache.root):
                ready.append((tree, listed))
            elif moved := _moved(tree, listed, moves, new):
                ready.append((tree, moved))
            else:
                left_out.append(listed.name)
        if sha256 and reader.sha256 != sha256:
            raise WrongArchive(f"its SHA256 is {reader.sha256}")
        lock.merge(contents.lock, cache.root / "lock.json")
        for tree, listed in ready:
            cache.add(tree, listed)
        cache.set_place()
    names = tuple(listed.name for _, listed in ready)
    return Transfer(images=names, sha256=reader.sha256, left_out=tuple(left_out))


def stage(builder: Builder, names: Iterable[str], place: Path, tree: Path) -> Mapping[str, str]:
    """Fill a tree with a store of these images, and of those that they need, that will be at `place`.
    What is not built is built.

    Return the name of each image's directory in it. Raises ImageError for an image that cannot move.
    """
    names = tuple(names)
    entries = {name: builder.entry(name) for name in (*names, *_with_needs(builder, names))}
    cache, locked = builder.cache, builder.cache.root / "lock.json"
    old, new = builder.keys(cache.built_at(), locked), builder.keys(place, locked)
    moves = {
        f"{cache.built_at()}/store/{name}-{old[name][:16]}": f"{place}/store/{name}-{new[name][:16]}"
        for name in old.keys() & new.keys()
    }
    found: dict[str, str] = {}
    for name, entry in entries.items():
        found[name] = f"{name}-{new[name][:16]}"
        copy = tree / "store" / found[name]
        shutil.copytree(entry.path, copy, symlinks=True)
        if not _moved(copy, entry.manifest, moves, new):
            raise ImageError(f"the image {name} contains the path of its store", "report this")
    if locked.exists():  # only where a suite has replaced a version that was tested
        shutil.copy2(locked, tree / "lock.json")
    cache.note_place(tree, place)
    # two stages of the same images are equal: what was written here gets no time of its own
    for written in (*tree.iterdir(), *tree.glob(f"store/*/{manifest.MANIFEST}")):
        os.utime(written, (0, 0))
    return found


def _keys(
    builder: Builder, contents: Contents, scratch: Path
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the keys of images at the old place and at this one, with the lock of the archive."""
    locked = scratch / "lock.json"
    lock.write(locked, contents.lock)
    return builder.keys(Path(contents.place), locked), builder.keys(builder.cache.root, locked)


def _moved(
    tree: Path, listed: Manifest, moves: Mapping[str, str], keys: Mapping[str, str]
) -> Manifest | None:
    """Give the programs of an image their new paths, and return its new manifest; None if a file
    contains an old path that cannot be changed.
    """
    files = dict(listed.files)
    for name, file in listed.files.items():
        path = tree / name
        if not _mentions(path, file, moves):
            continue
        program = None if stat.S_ISLNK(file.mode or 0) else read_elf(path)
        if program is None or not program.interpreter:
            return None
        run_path = ":".join(program.rpath or program.runpath)
        elf.relocate(path, _changed(program.interpreter, moves), _changed(run_path, moves))
        path.chmod(stat.S_IMODE(file.mode or 0o755))
        os.utime(path, ns=(file.mtime, file.mtime))
        files[name] = manifest.describe_file(path)
    images = listed.provenance.get("images", {})
    names = msgspec.convert(images, dict[str, str])
    moved = replace(
        listed,
        key=keys[listed.name],
        files=files,
        provenance={**listed.provenance, "images": {name: keys[name] for name in names}},
    ).sealed()
    manifest.write(tree, moved)
    return moved


def _changed(text: str, moves: Mapping[str, str]) -> str:
    for old, new in moves.items():
        text = text.replace(old, new)
    return text


def _mentions(path: Path, file: File, moves: Mapping[str, str]) -> bool:
    """Return whether a file or link contains the path of an image at its old place."""
    old = [os.fsencode(each) for each in moves]
    if stat.S_ISLNK(file.mode or 0):
        return any(each in os.fsencode(path.readlink()) for each in old)
    common = os.fsencode(os.path.commonpath(list(moves)))
    with open_regular(path, follow_links=False) as opened:
        return any(common in block for block in overlapping_blocks(opened, len(common)))
