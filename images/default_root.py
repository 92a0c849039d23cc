"""Where the cache of images is, unless a program chooses another place. Quick to import."""

from __future__ import annotations

import os
from pathlib import Path

from foothold_lab.images.errors import ImageError


def default_root() -> Path:
    """Return the cache directory: $FOOTHOLD_CACHE, else foothold/ in the user's cache directory.
    Raises ImageError if the user has none.
    """
    if chosen := os.environ.get("FOOTHOLD_CACHE"):
        return Path(chosen).absolute()
    if home := os.environ.get("XDG_CACHE_HOME"):
        return Path(home).absolute() / "foothold"
    try:
        return Path.home().absolute() / ".cache/foothold"
    except RuntimeError as error:
        raise ImageError(
            "this user has no home directory, where the image store would be",
            "set FOOTHOLD_CACHE to a directory",
        ) from error
