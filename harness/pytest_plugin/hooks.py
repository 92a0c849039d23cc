"""What pytest loads in every project: options, markers, fixtures, hooks. PYTEST_DONT_REWRITE

This module is small and imports nothing of Foothold. The other modules of the plugin are imported
when a test requests one of the fixtures.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

    from foothold_lab.harness.api.guest import OpenGuest
    from foothold_lab.harness.model.facts import Facts
    from foothold_lab.harness.pytest_plugin.fixtures import BootGuest, RunCell


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the command line and of the configuration file."""
    options = parser.getgroup("foothold", "guests of Foothold")
    only = "run tests in this guest only (repeatable)"
    options.addoption("--foothold-guest", action="append", metavar="GUEST", default=[], help=only)
    require = "fail the tests of a guest that this machine cannot boot, instead of skipping them"
    options.addoption("--foothold-require", action="store_true", help=require)
    keep = "keep guests booted for the next session; `foothold guests --end` ends them"
    options.addoption("--foothold-keep", action="store_true", help=keep)
    keep_for = "end kept guests after so many seconds without a session (default: 900)"
    options.addoption(
        "--foothold-keep-for", type=float, metavar="SECONDS", default=900.0, help=keep_for
    )
    parser.addini("foothold_guests", "guests of tests without a foothold_guest marker", "linelist")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for marker in (
        "foothold_guest(*names): run the test in these guests only",
        "foothold_limit(*words, **limits): limit the address space: foothold_limit(rlimit_as='1G')",
        "foothold_needs_kvm: skip the test if KVM does not work",
    ):
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """With xdist, run all tests of a guest in one process, so that it is booted once."""
    if any("foothold:" in each for each in ids):
        from foothold_lab.harness.pytest_plugin import grouping

        grouping.schedule_by_guest(node.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test that requests `foothold_guest` into one test for each guest."""
    if "foothold_guest" in metafunc.fixturenames:
        from foothold_lab.harness.pytest_plugin import grouping

        grouping.parametrize(metafunc)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of one guest one after another, so that it is booted once."""
    if any("foothold_guest" in getattr(item, "fixturenames", ()) for item in items):
        from foothold_lab.harness.pytest_plugin import grouping

        grouping.order(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs KVM if KVM does not work."""
    if item.get_closest_marker("foothold_needs_kvm"):
        from foothold_lab.harness.pytest_plugin import fixtures

        fixtures.skip_without_kvm(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the evidence of its guests to the report of a failed test."""
    report = yield
    used = sys.modules.get(f"{__package__}.report")  # loaded when a test uses a guest
    if report.failed and used:
        report.sections += used.sections(item)
    return report


@pytest.fixture
def foothold_guest(request: pytest.FixtureRequest) -> OpenGuest:
    """A guest that has booted. Tests of the same guest share it; each guest makes one test."""
    from foothold_lab.harness.pytest_plugin import fixtures

    return fixtures.guest(request)


@pytest.fixture
def foothold_facts(foothold_guest: OpenGuest) -> Facts:
    """The measured properties of the guest's address space."""
    return foothold_guest.facts


@pytest.fixture
def foothold_cell(request: pytest.FixtureRequest, foothold_guest: OpenGuest) -> RunCell:
    """Runs one cell after another in the guest, under the limits of the test's markers."""
    from foothold_lab.harness.pytest_plugin import fixtures

    return fixtures.cell_runner(request, foothold_guest)


@pytest.fixture
def foothold_boot(request: pytest.FixtureRequest) -> BootGuest:
    """Boots guests that no other test uses, and stops them at the end of the test."""
    from foothold_lab.harness.pytest_plugin import fixtures

    return fixtures.booter(request)
