"""The images of this machine that travel to workers which lack them, as packs.

A pack is a file of the luggage: its key has its SHA-256, and the worker asks for it as for any other
file. It has no name on the disk, so that it is gone when this process is.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from foothold_lab.harness import __version__
from foothold_lab.harness.cluster.luggage import Luggage
from foothold_lab.harness.cluster.messages import Pack
from foothold_lab.images.builder import Builder
from foothold_lab.images.errors import ImageError
from foothold_lab.images.transfer import pack_some


class Packs:
    """Makes packs in a directory, each once. Any thread may ask for one."""

    def __init__(self, builder: Builder, luggage: Luggage, directory: Path) -> None:
        self._builder = builder
        self._luggage = luggage
        self._directory = directory
        self._made: dict[frozenset[str], Pack] = {}
        self._guard = threading.Lock()
        self._files: list[IO[bytes]] = []

    def of(self, images: Iterable[str]) -> Pack:
        """Return the pack of those of these images that this machine has."""
        names = frozenset(images)
        with self._guard:
            if names not in self._made:
                self._made[names] = self._make(names)
            return self._made[names]

    def _make(self, names: frozenset[str]) -> Pack:
        try:
            file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - for all of the run
            self._files.append(file)
            pack_some(self._builder, file, __version__, names)
            file.flush()
            path = Path(f"/proc/self/fd/{file.fileno()}")
            return Pack(key=self._luggage.key(path), size=file.tell())
        except ImageError:
            return Pack(reason="the machine of the run has none of them")
        except OSError as error:
            return Pack(reason=f"the machine of the run cannot pack them: {error}")
