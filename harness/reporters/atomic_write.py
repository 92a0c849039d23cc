"""Writing a file completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file in one step, so that readers see the old or the new content. Raises OSError.

    A device or a pipe, such as /dev/stdout, is written.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
    else:
        replace_file(path, data)


def replace_file(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace what has this name, a file or a link, by a file, in one step. Raises OSError.

    Only its owner can read a `private` one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o600 if private else 0o666), "wb") as file:
            file.write(data)
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
