"""Result files: what several runs of a survey found, in one file that can be kept."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.run_directory import decode
from foothold_lab.harness.survey.loader import Survey, SurveyPart, join, latest, part_of
from foothold_lab.harness.survey.store_paths import without_store

_MOST = 256 << 20  # bytes of a result file that is not compressed


@dataclass(frozen=True, kw_only=True)
class ResultFile:
    """The contents of a result file: what several runs found, and nothing twice."""

    parts: tuple[SurveyPart, ...]
    schema: int = 1


def read(*sources: Path) -> Survey:
    """Read surveys from run directories and result files; of a cell in several, the last one counts.
    Raises UsageError if a source holds no survey.
    """
    return join(read_parts(*sources))


def read_parts(*sources: Path) -> list[SurveyPart]:
    """Return what the runs of these sources found, without the cells that a later one has too. Raises
    UsageError.
    """
    parts: list[SurveyPart] = []
    for source in sources:
        parts += [part_of(source)] if source.is_dir() else _result_file(source).parts
    return list(latest(parts))


def write_parts(parts: Sequence[SurveyPart]) -> bytes:
    """Return the bytes of a result file: JSON, compressed by gzip. Equal parts give equal bytes.

    The paths of files in the store are shortened to the image and what is below it.
    """
    text = msgspec.json.encode(ResultFile(parts=tuple(parts))).decode()
    return gzip.compress(without_store(text).encode(), mtime=0)


def _result_file(file: Path) -> ResultFile:
    """Read a result file. Raises UsageError."""
    try:
        with gzip.open(file) as stream:
            data = stream.read(_MOST + 1)
    except (OSError, EOFError) as error:
        raise UsageError(
            f"{file} holds no survey: {getattr(error, 'strerror', None) or error}",
            "give the run directory of a survey, or a file that --results wrote",
        ) from error
    if len(data) > _MOST:
        raise UsageError(
            f"{file} has more than {_MOST >> 20} MiB of results",
            "give a file that --results wrote",
        )
    found: ResultFile = decode(data, ResultFile, str(file))
    return found
