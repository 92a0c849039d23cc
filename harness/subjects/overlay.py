"""The files that a subject brings: a tree that is laid over the root of its guest.

A program finds its files only where it looks for them, so every file lies at its own absolute path.
A path with a symbolic link in it has two names, and a program may use both: the file lies at its
real path, and a link leads to it from the name that was given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.subjects import libraries
from foothold_lab.harness.subjects.libc_data import libc_data
from foothold_lab.images.elf_file import is_elf_file

ROOT = "root"  # the tree, in a subject's directory of the share
WORK = "work"  # beside it: the files that are copied into the working directory
STDIN = "stdin"  # beside it: the file that is the standard input
MOST_BYTES = 256 << 20  # of one directory: a guest may have it in its memory

_SYSTEM = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
_SYSTEM_DATA = ("/etc", "/usr/share")


@dataclass
class Overlay:
    """Files, directories and relative links, by their names in a subject's directory of the share."""

    files: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, source: Path) -> None:
        """Add a file of this machine at an absolute path."""
        real = str(source.resolve())
        if path != str(source):  # it is of another root
            self.files[f"{ROOT}{path}"] = source
            return
        self.files[f"{ROOT}{real}"] = source
        if real != path:
            self.links[f"{ROOT}{path}"] = os.path.relpath(real, Path(path).parent)

    def add_libraries(self, program: Path, loader: str, environment: Mapping[str, str]) -> None:
        """Add all that the loader of a program of this machine takes for it, the loader, and the
        data of its libc (libc_data.py).

        Of the directories that RPATH and RUNPATH name, all shared objects are added: the program
        may load them by dlopen(3). Raises UsageError if a library is missing.
        """
        found = libraries.of_host(program, loader, environment)
        for path, library in found.files.items():
            self.add(path, library)
        for path in libc_data(program, found.files, environment, Path("/")):
            self.add(path, Path(path))
        for directory in found.run_path:
            self._add_shared_objects(Path(directory))

    def add_libraries_of(
        self, sysroot: Path, program: Path, loader: str, environment: Mapping[str, str]
    ) -> None:
        """Add loader, libraries and data of the libc from another root file system.

        Raises UsageError if a library is missing.
        """
        found = libraries.of_sysroot(program, loader, sysroot, environment)
        for path, library in found.files.items():
            self.add(path, library)
        for path in libc_data(program, found.files, environment, sysroot):
            self.add(path, sysroot / path[1:])

    def add_tree(self, path: str, directory: Path, *, place: str = ROOT) -> None:
        """Add a directory with all directories and files below it.

        Raises UsageError if the files are larger than MOST_BYTES.
        """
        size = 0
        for folder, _, names in os.walk(directory):
            below = os.path.normpath(f"{path}/{Path(folder).relative_to(directory)}")
            self.files[f"{place}{below}"] = Path(folder)
            for name in names:
                file = Path(folder, name)
                if not file.is_file():
                    continue
                size += file.stat().st_size
                if size > MOST_BYTES:
                    raise UsageError(
                        f"{directory} has more than {MOST_BYTES >> 20} MiB of files",
                        "name the files that the program needs, or use --root host",
                    )
                target = os.path.normpath(f"{path}/{file.relative_to(directory)}")
                self.files[f"{place}{target}"] = file

    def _add_shared_objects(self, folder: Path) -> None:
        """Add the shared objects in a directory that a run path names: no file of another kind."""
        if _is_system(folder):
            return
        size = 0
        for file in sorted(folder.glob("*.so*")):
            if is_elf_file(file) and (size := size + file.stat().st_size) <= MOST_BYTES:
                self.add(str(file), file)


def is_of_system(path: str) -> bool:
    """Does an absolute path lie in a directory of libraries of the system, or of their data?"""
    return any(Path(path).is_relative_to(each) for each in (*_SYSTEM, *_SYSTEM_DATA))


def _is_system(folder: Path) -> bool:
    return any(folder.is_relative_to(each) for each in _SYSTEM)
