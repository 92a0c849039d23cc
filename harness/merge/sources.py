"""A run directory, or an archive of one, which may come from elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zstandard

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.run_directory import TreeBudget, check_name

_ZSTANDARD = b"\x28\xb5\x2f\xfd"  # the first bytes of a frame, RFC 8878
_REMEDY = "make the archive with `tar -czf FILE.tar.gz -C RUN_DIRECTORY .`"


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[Path]:
    """Yield the run directory: `path` itself, or what the tar archive `path` holds, which is gone
    afterwards. Raises UsageError.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise UsageError(f"{path} is neither a directory nor a file", _REMEDY)
    with tempfile.TemporaryDirectory(prefix="foothold-merge-") as folder:
        try:
            with _open_tar(path) as archive:
                _unpack(archive, Path(folder), str(path))
        except (OSError, tarfile.TarError, zstandard.ZstdError, EOFError) as error:
            raise UsageError(f"{path} is not an archive of a run: {error}", _REMEDY) from error
        yield _find_run(Path(folder), path)


@contextlib.contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        if file.read(len(_ZSTANDARD)) == _ZSTANDARD:
            file.seek(0)
            stream = zstandard.ZstdDecompressor().stream_reader(file)
            yield stack.enter_context(tarfile.open(fileobj=stream, mode="r|"))
        else:
            file.seek(0)
            yield stack.enter_context(tarfile.open(fileobj=file, mode="r|*"))


def _unpack(archive: tarfile.TarFile, folder: Path, where: str) -> None:
    """Unpack regular files. Links and devices are left out: a run directory has none."""
    budget = TreeBudget(where)
    for member in archive:
        budget.spend(names=1, size=member.size)
        if not member.isreg():
            continue
        name = member.name.removeprefix("./")
        try:
            check_name(name)
        except ValueError as error:
            raise UsageError(f"{where}: {error}", _REMEDY) from error
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = archive.extractfile(member)
        assert source
        with target.open("xb") as copy:
            shutil.copyfileobj(source, copy)


def _find_run(folder: Path, path: Path) -> Path:
    """Return the directory of the run: the archive may hold the directory or its files."""
    found = [each for each in (folder, *folder.iterdir()) if (each / "run.json").is_file()]
    if not found:
        raise UsageError(f"{path} holds no run: it has no run.json", _REMEDY)
    if len(found) > 1:
        names = ", ".join(sorted(each.name for each in found))
        raise UsageError(f"{path} holds several runs: {names}", "make an archive of each run")
    return found[0]
