"""Paths of the store in what a program printed: they belong to the machine on which it ran."""

from __future__ import annotations

import re

# up to the hash in the name of an entry; a quote, a bracket or a mark of HTML ends a path
_IN_STORE = re.compile(r"/[^\s\"'()\[\]<>&]*?/store/([a-z0-9_.-]+)-[0-9a-f]{16}")


def without_store(text: str) -> str:
    """Shorten each path of a file of an image to the name of the image, and what follows it."""
    return _IN_STORE.sub(r"\1", text)
