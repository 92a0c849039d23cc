"""The guests of a test session: each is booted once and runs the cells of many tests."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import OpenGuest, open_guest
from foothold_lab.harness.api.vocabulary import canonical_guest
from foothold_lab.harness.guests.base import Support
from foothold_lab.harness.guests.catalogue import GuestType, catalogue, find_guest
from foothold_lab.harness.model.errors import FootholdError
from foothold_lab.images.builder import Builder


@dataclass
class Lab:
    """The guests of a session. `root` keeps the evidence; `say` reports what takes time.

    keep: seconds for which shared guests stay for the next session; None: they end with this one.
    """

    root: Path
    say: Callable[..., None]
    keep: float | None = None
    _builder: Builder | None = None
    _open: OpenGuest | None = None
    _ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _count: Iterator[int] = field(default_factory=itertools.count)

    @property
    def builder(self) -> Builder:
        """The builder of images, made on first use."""
        if self._builder is None:
            self._builder = Builder(progress=self.say)
        return self._builder

    def name(self, guest: str) -> str:
        """Return a guest's canonical name. Raises UsageError."""
        return canonical_guest(guest, self.builder)

    def guests(self) -> Mapping[str, GuestType]:
        """Return all guests by canonical name."""
        return catalogue(self.builder)

    def support(self, guest: str) -> Support:
        """Return whether this machine can boot a guest. Boots nothing."""
        return find_guest(self.guests(), guest).supported(self.builder, self.root)

    def shared(self, guest: str) -> OpenGuest:
        """Return the guest that consecutive tests share. Boots it if it is not open.

        Stops the guest that was open before. A guest that a cell has damaged is replaced. Raises
        FootholdError.
        """
        if self._open:
            if self._open.name == guest and not self._open.booted.damaged:
                return self._open
            self.close()
        with contextlib.ExitStack() as made:
            self._open = made.enter_context(self._kept(guest))
            self._ending = made.pop_all()
        return self._open

    def _kept(self, guest: str) -> contextlib.AbstractContextManager[OpenGuest]:
        """Return a guest that stays for the next session, if that is wanted."""
        if self.keep is None:
            return self.fresh(guest)
        from foothold_lab.harness.keeper.client import open_kept_guest

        directory = self.root / f"boot-{next(self._count)}"
        return open_kept_guest(guest, builder=self.builder, directory=directory, seconds=self.keep)

    def fresh(self, guest: str) -> contextlib.AbstractContextManager[OpenGuest]:
        """Return a guest that no other test uses, as a context manager. Raises FootholdError."""
        directory = self.root / f"boot-{next(self._count)}"
        return open_guest(guest, builder=self.builder, directory=directory)

    def close(self) -> None:
        """Stop the guest that is open."""
        self._open = None
        with contextlib.suppress(FootholdError):
            self._ending.close()


_LAB: pytest.StashKey[Lab] = pytest.StashKey()


def lab_of(config: pytest.Config) -> Lab:
    """Return the guests of a session, made on first use and closed at its end."""
    if lab := config.stash.get(_LAB, None):
        return lab
    # this reporter writes whole lines of its own; a process of xdist has none
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")

    def say(what: str, /, *, transient: bool = False) -> None:
        if transient or not reporter:
            return
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.write_line(what)

    factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined]
    keep = config.getoption("--foothold-keep-for") if config.getoption("--foothold-keep") else None
    lab = config.stash[_LAB] = Lab(factory.mktemp("foothold"), say, keep)
    config.add_cleanup(lab.close)
    return lab
