"""Names of files, and sizes of pages."""

from __future__ import annotations

import hashlib
import re

MOST_BYTES = 300_000  # of a page
SHELL_BYTES = 40_000  # of a page, for all but its rows
_NAME = re.compile(r"[A-Za-z0-9_+=,-][A-Za-z0-9._+=,-]{0,80}")
_TAKEN = re.compile(r"(index|runs|changes|guests)(-\d+)?")


def file_name(name: str) -> str:
    """Return a file name for any text. Different texts have different names."""
    if _NAME.fullmatch(name) and not _TAKEN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:10]
    readable = re.sub(r"[^A-Za-z0-9_+=,-]+", "-", name)[:60].strip("-")
    return f"{readable}-{digest}"


def page_name(name: str, number: int) -> str:
    """Return the file name of the `number`-th page, from 0, of several that are named alike."""
    return f"{name}{f'-{number + 1}' if number else ''}.html"
