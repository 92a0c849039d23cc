"""The subjects and files that travel to a worker.

A file is known by its key: the SHA-256 of its content, and its mode. So a worker asks only for files
that it does not have yet. The key of a directory is its mode alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness.cluster.messages import PART, FilePart
from foothold_lab.harness.model.errors import InfrastructureError, UsageError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.subjects.subject import Subject, program_source
from foothold_lab.images.builder import Builder
from foothold_lab.images.regular_file import open_regular

_KEY = re.compile(r"(?:[0-9a-f]{64}|directory)-[0-7]{1,4}")
_DIRECTORY = "directory-"


class Luggage:
    """The files of this machine that workers may ask for. The coordinator has one."""

    def __init__(self) -> None:
        self._keys: dict[Path, str] = {}
        self._files: dict[str, Path] = {}

    def pack(self, subject: Subject) -> Subject:
        """Return a subject with the keys of its files in place of their paths. Raises UsageError for
        one that cannot travel.
        """
        if subject.root == "host":
            raise UsageError(
                f"{subject.name} runs with --root host: it uses the files of this machine, which a "
                "worker does not have",
                "leave --root host out, or --cluster",
            )
        return replace(
            subject, files={name: Path(self.key(path)) for name, path in subject.files.items()}
        )

    def key(self, path: Path) -> str:
        """Return the key of a file, which workers may ask for from now on. Raises UsageError."""
        if path not in self._keys:
            self._keys[path] = key = _key_of(path)
            self._files[key] = path
        return self._keys[path]

    def parts(self, key: str) -> Iterator[FilePart]:
        """Yield the parts of a file. Raises UsageError if it is unknown or has changed."""
        path = self._files.get(key)
        if path is None:
            raise UsageError(f"a worker asked for {key[:80]!r}, which does not belong to this run")
        try:
            with open_regular(path) as file:
                data = file.read(PART)
                while following := file.read(PART):
                    yield FilePart(key=key, data=data, last=False)
                    data = following
                yield FilePart(key=key, data=data, last=True)
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from error


class Depot:
    """The files that a worker has, below a directory. Any thread may use it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[tuple[int, str], Path] = {}

    def lacks(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Return the keys of the files that are not there. Raises InfrastructureError."""
        return tuple(
            key for key in dict.fromkeys(map(_checked, keys)) if not self._path(key).exists()
        )

    def add(self, part: FilePart) -> None:
        """Add a part of a file. Raises InfrastructureError if the file is not that of its key."""
        owner = (threading.get_ident(), _checked(part.key))
        if owner not in self._open:
            handle, name = tempfile.mkstemp(dir=self._directory)
            os.close(handle)
            self._open[owner] = Path(name)
        path = self._open[owner]
        with path.open("ab") as file:
            file.write(part.data)
        if not part.last:
            return
        del self._open[owner]
        digest, _, mode = part.key.partition("-")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                path.unlink()
                raise _error(f"the file {digest[:16]} has changed while it travelled")
        path.chmod(int(mode, 8) | 0o400)
        path.rename(self._path(part.key))

    def unpack(self, subject: Subject, builder: Builder) -> Subject:
        """Return a subject with paths of this machine. Raises InfrastructureError, and ImageError if
        its image cannot be built.
        """
        files = {name: self.path(str(key)) for name, key in subject.files.items()}
        subject = replace(subject, files=files)
        if not subject.image:
            return subject
        here = str(builder.image(subject.image))

        def placed(word: str) -> str:
            return word.replace(subject.image_directory, here)

        return replace(
            subject,
            argv=tuple(map(placed, subject.argv)),
            environment={name: placed(word) for name, word in subject.environment.items()},
            directory=placed(subject.directory),
            image_directory=here,
        )

    def path(self, key: str) -> Path:
        """Return the path of a file that is there."""
        return self._path(_checked(key))

    def _path(self, key: str) -> Path:
        path = self._directory / key
        if key.startswith(_DIRECTORY) and not path.exists():
            path.mkdir(exist_ok=True)
            path.chmod(int(key.removeprefix(_DIRECTORY), 8) | 0o700)
        return path


def on_this_machine(subject: Subject, scratch: Path) -> Subject:
    """Return a subject as a guest with the paths of this machine runs it: its program lies where it
    does on the machine of the user, or else below `scratch`, and uses the libraries of this machine.
    """
    source = program_source(subject)
    if source is None or _same(source, Path(subject.argv[0])):
        return subject
    program = scratch / subject.name / Path(subject.argv[0]).name
    program.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, program)
    return replace(subject, argv=(str(program), *subject.argv[1:]))


def _same(source: Path, path: Path) -> bool:
    try:
        return _key_of(source) == _key_of(path)
    except UsageError:
        return False


def _key_of(path: Path) -> str:
    try:
        mode = path.stat().st_mode & 0o7777
        if path.is_dir():
            return f"{_DIRECTORY}{mode:o}"
        with open_regular(path) as file:
            return f"{hashlib.file_digest(file, 'sha256').hexdigest()}-{mode:o}"
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise _error(f"{key[:80]!r} is not the key of a file")
    return key


def _error(text: str) -> InfrastructureError:
    return InfrastructureError(text, code=Code.INFRASTRUCTURE_WORKER)
