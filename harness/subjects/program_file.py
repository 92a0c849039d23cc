"""The file of a program that the user gives: what its ELF headers say, or one clear error."""

from __future__ import annotations

from pathlib import Path

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.images.elf_file import ElfError, ElfFile, read_elf


def program_file(path: Path) -> ElfFile | None:
    """Read the headers of a program; None for a script. Raises UsageError for a damaged file."""
    try:
        return read_elf(path)
    except ElfError as error:
        raise UsageError(str(error), error.remedy) from error
    except (OSError, ValueError) as error:  # ValueError: the path has a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{path} cannot be read: {why}", "give a file that you can read"
        ) from error
