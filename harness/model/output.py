"""What a program must print: a digest of its standard output, read from a file."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.model.errors import UsageError

MOST_EXPECTED = 4 << 20  # bytes of a file; so much is kept of the output of a program


@dataclass(frozen=True, kw_only=True)
class OutputDigest:
    """The size of an output in bytes, and its SHA-256; that is empty if the output was cut."""

    size: int
    sha256: str

    @classmethod
    def of(cls, output: bytes, *, cut: bool = False) -> OutputDigest:
        """Return the digest of an output. One that was cut equals no complete output."""
        return cls(size=len(output), sha256="" if cut else hashlib.sha256(output).hexdigest())


def read_expected_output(path: Path) -> bytes:
    """Read a file that holds the expected output.

    Raises UsageError if it cannot be read, is not a regular file, or is larger than MOST_EXPECTED.
    """
    try:
        # without O_NONBLOCK, opening a FIFO would wait for a writer
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{path}: this is not a regular file", "give a regular file")
            content = file.read(MOST_EXPECTED + 1)
    except OSError as error:
        remedy = "write the expected standard output of the program into that file"
        raise UsageError(f"{path}: {error.strerror or error}", remedy) from error
    if len(content) > MOST_EXPECTED:
        raise UsageError(
            f"{path}: larger than {MOST_EXPECTED >> 20} MiB, which is all that is kept of an output",
            "let the program print less, for example a checksum",
        )
    return content
