"""Which tests use a guest, their order, and their distribution over the processes of xdist.

Only tests that use the fixture `foothold_guest` of this plugin are touched.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.model.errors import FootholdError
from foothold_lab.harness.pytest_plugin import hooks
from foothold_lab.harness.pytest_plugin.lab import Lab, lab_of
from foothold_lab.images.builder import Builder

_GUEST = "foothold_guest"
_PREFIX = "foothold:"  # of a parameter's id: the process that schedules tests knows only their ids


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Make one test for each guest of a test, such as `test_server[foothold:uml-6.1]`.

    A test that gives values to `foothold_guest` by itself is left alone.
    """
    if _GUEST in _parametrized(metafunc) or not _uses_ours(metafunc._arg2fixturedefs):
        return
    try:
        names = _guests(metafunc, lab_of(metafunc.config))
    except FootholdError as error:
        raise pytest.UsageError(f"{error}; {error.remedy}") from error
    metafunc.parametrize(_GUEST, names, ids=[_PREFIX + name for name in names], indirect=True)


def order(items: list[pytest.Item]) -> None:
    """Order the tests of guests by guest, in place. All other tests keep their positions."""
    places = [place for place, item in enumerate(items) if _guest_of(item)]
    ours = [items[place] for place in places]
    numbers = {name: n for n, name in enumerate(dict.fromkeys(map(_guest_of, ours)))}
    ours.sort(key=lambda item: numbers[_guest_of(item)])
    for place, item in zip(places, ours, strict=True):
        items[place] = item


def schedule_by_guest(config: pytest.Config) -> None:
    """Let xdist run all tests of a guest in one process.

    Called when a process has collected such tests, before xdist distributes any. A scheduler that
    the user, or another plugin, has chosen stays.
    """
    from xdist.scheduler import LoadScheduling, LoadScopeScheduling

    session = config.pluginmanager.get_plugin("dsession")
    if session is None or type(session.sched) is not LoadScheduling:
        return
    guests = sorted(catalogue(Builder()), key=len, reverse=True)

    class ByGuest(LoadScopeScheduling):  # type: ignore[misc]
        """Gives all tests of a guest to one process, and every other test to any."""

        def _split_scope(self, nodeid: str) -> str:
            # other parameters may follow the guest's name, so the longest name counts
            _, _, rest = nodeid.partition(_PREFIX)
            return next((name for name in guests if rest.startswith(name)), nodeid)

    scheduler = ByGuest(config, session.log)
    for node in session.sched.nodes:
        scheduler.add_node(node)
    session.sched = scheduler


def _uses_ours(fixtures: Mapping[str, Sequence[pytest.FixtureDef[Any]]]) -> bool:
    """Return whether the fixture `foothold_guest` that a test gets comes from this plugin.

    `fixtures` holds the definitions that the test sees, by name; each overrides the one before it.
    One that overrides ours and requests it uses ours.
    """
    for definition in reversed(fixtures.get(_GUEST, ())):
        if getattr(definition.func, "__module__", "") == hooks.__name__:
            return True
        if _GUEST not in definition.argnames:
            return False
    return False


def _guest_of(item: pytest.Item) -> str:
    """Return the guest of a test; empty if it has none of ours."""
    fixtures = getattr(item, "_fixtureinfo", None)  # pytest has no public way to ask for it
    call = getattr(item, "callspec", None)
    name = call.params.get(_GUEST, "") if call else ""
    if not isinstance(name, str) or fixtures is None:
        return ""
    return name if _uses_ours(fixtures.name2fixturedefs) else ""


def _parametrized(metafunc: pytest.Metafunc) -> set[str]:
    """Return the names to which the test's own `parametrize` marks give values."""
    names: set[str] = set()
    for mark in metafunc.definition.iter_markers("parametrize"):
        given = mark.args[0] if mark.args else mark.kwargs.get("argnames", "")
        names.update(given.replace(",", " ").split() if isinstance(given, str) else given)
    return names


def _guests(metafunc: pytest.Metafunc, lab: Lab) -> list[str]:
    """Return the guests of a test: those of its marker, else those of the configuration, else all
    that this machine can boot and that run its programs. The command line selects from these.
    """
    config = metafunc.config
    marker = metafunc.definition.get_closest_marker("foothold_guest")
    named = list(marker.args) if marker else config.getini("foothold_guests")
    names = list(dict.fromkeys(lab.name(each) for each in named))
    if not names:
        names = [
            name
            for name, kind in lab.guests().items()
            if kind.machines[0] == platform.machine() and lab.support(name).ok
        ]
    only = {lab.name(each) for each in config.getoption("--foothold-guest")}
    return [name for name in names if not only or name in only]
