"""What all tests have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from foothold_lab.harness.api import guest, running
from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.guests.host_probe import probe_host
from foothold_lab.harness.guests.uml import unconfined_allowed
from foothold_lab.harness.runner import RunOptions
from foothold_lab.images.builder import Builder
from tests.failures import pytest_terminal_summary as pytest_terminal_summary  # a hook

# how long something takes is a matter for a benchmark: no example fails because a machine is busy
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

# Tests of what depends on the version of Python: its syntax and its standard library (sqlite3, tomllib,
# zipfile, subprocess, asyncio, signals, terminals), byte code, and the frames of tracebacks. They run on
# each installed Python; computations on integers and parsers of text run on one.
EVERY_PYTHON = frozenset(
    (
        "results_db", "html_report", "transport",
        "test_allocator_cli", "test_bundle", "test_bytecode", "test_cli", "test_conformance",
        "test_container_archive", "test_doctor", "test_github", "test_help", "test_imports",
        "test_interrupted_build", "test_live_subject", "test_lock_and_builder", "test_modules",
        "test_native", "test_patterns", "test_plan", "test_programs",
        "test_report", "test_reporters", "test_streams", "test_subjects",
        "test_survey", "test_terminal", "test_values", "test_wheels",
    )
)  # fmt: skip

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not EVERY_PYTHON.isdisjoint((item.path.stem, item.path.parent.name)):
            item.add_marker(pytest.mark.every_python)


@pytest.hookimpl(tryfirst=True)  # before fixtures boot a guest
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("guests") and _boots_uml(item) and _refuses_uml():
        pytest.skip("this machine refuses namespaces to UML guests")


def _boots_uml(item: pytest.Item) -> bool:
    """Does a test boot a UML guest? One of its parameters names such a guest, or it is marked."""
    parameters = item.name.partition("[")[2].removeprefix("foothold:")
    return parameters.startswith("uml") or item.get_closest_marker("uml") is not None


def _refuses_uml() -> bool:
    return probe_host().namespaces != 0 and not unconfined_allowed()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope`, run the tests of a file that use one guest in one process.

    They share its boot. The groups of xdist (`--dist loadgroup`) have no effect in pytest 9.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    guests = sorted(known_guests(Builder()), key=len, reverse=True)

    class ByFileAndGuest(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            parameters = test.partition("[")[2].removeprefix("foothold:")
            return f"{file} {next((name for name in guests if parameters.startswith(name)), '')}"

    return ByFileAndGuest(config, log)


@pytest.fixture(scope="session")
def processors() -> list[int]:
    """The processors of this machine. Each process of xdist begins with another one."""
    usable = sorted(os.sched_getaffinity(0))
    first = _WORKER % len(usable)
    return usable[first:] + usable[:first]


@pytest.fixture(scope="session", autouse=True)
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Put the evidence of guests that are opened without a directory where pytest removes it."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (guest, running):
            patch.setattr(module, "new_directory", lambda: tmp_path_factory.mktemp("evidence"))
        yield


@pytest.fixture(scope="session", autouse=True)
def use_other_processors(processors: list[int]) -> Iterator[None]:
    """Pin guests to `processors`: otherwise all processes of xdist would use the first one."""

    def pinned(options: RunOptions) -> list[int]:
        count = options.jobs or len(processors)
        return [processors[number % len(processors)] for number in range(count)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunOptions, "processors", property(pinned))
        yield
