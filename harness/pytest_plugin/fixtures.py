"""The values of the fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Unpack

import pytest

from foothold_lab.harness.api.guest import CellOptions, OpenGuest
from foothold_lab.harness.guests.kvm_probe import Kvm
from foothold_lab.harness.model.errors import FootholdError, UnsupportedError, UsageError
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.pytest_plugin import report
from foothold_lab.harness.pytest_plugin.lab import lab_of


class BootGuest(Protocol):
    """The type of the fixture `foothold_boot`."""

    def __call__(self, name: str) -> OpenGuest:
        """Boot a guest. Skip the test if this machine cannot boot it."""


class RunCell(Protocol):
    """The type of the fixture `foothold_cell`."""

    def __call__(
        self,
        program: str | Path | None = None,
        *arguments: str,
        guest: OpenGuest | None = None,
        **options: Unpack[CellOptions],
    ) -> Verdict:
        """Run a program, or the allocator if none is given, and return the verdict.

        `guest` is another guest than `foothold_guest`. The options are those of
        `OpenGuest.run_cell`. Skip the test if the guest cannot run this cell.
        """


def guest(request: pytest.FixtureRequest) -> OpenGuest:
    """Return the guest that the test's parameter names, booting it if it is not open."""
    lab = lab_of(request.config)
    return _opened(request, request.param, lambda: lab.shared(request.param))


def booter(request: pytest.FixtureRequest) -> BootGuest:
    """Return a function that boots guests for one test."""
    lab = lab_of(request.config)

    def boot(name: str) -> OpenGuest:
        one = lab.fresh(lab.name(name))
        guest = _opened(request, name, one.__enter__)
        request.addfinalizer(lambda: one.__exit__(None, None, None))
        return guest

    return boot


def cell_runner(request: pytest.FixtureRequest, foothold_guest: OpenGuest) -> RunCell:
    """Return a function that runs cells in a guest under the limits of a test."""
    limits = _marked_limits(request)

    def run_cell(
        program: str | Path | None = None,
        *arguments: str,
        guest: OpenGuest | None = None,
        **options: Unpack[CellOptions],
    ) -> Verdict:
        __tracebackhide__ = True  # the report of a mistake shows the test's own line
        options.setdefault("limits", limits)
        try:
            verdict = (guest or foothold_guest).run_cell(program, *arguments, **options)
        except UsageError as error:
            raise pytest.fail.Exception(_with_remedy(error)) from None
        if verdict.result is Result.UNSUPPORTED:
            pytest.skip("; ".join((*(each.text for each in verdict.findings), verdict.remedy)))
        return verdict

    return run_cell


def skip_without_kvm(item: pytest.Item) -> None:
    """Skip a test if KVM does not work on this machine."""
    kvm = Kvm(lab_of(item.config).builder.cache.root)
    if reason := kvm.reason():
        pytest.skip(f"KVM does not work here: {reason}; {kvm.remedy()}")


def _opened(request: pytest.FixtureRequest, name: str, start: Callable[[], OpenGuest]) -> OpenGuest:
    """Boot a guest and note that the test uses it, or skip or fail the test."""
    try:
        guest = start()
    except UnsupportedError as error:
        words = f"{name}: {_with_remedy(error)}"
        if request.config.getoption("--foothold-require"):
            pytest.fail(words, pytrace=False)
        pytest.skip(words)
    report.note_use(request.node, guest)
    return guest


def _marked_limits(request: pytest.FixtureRequest) -> str:
    """Join the words of all `foothold_limit` marks of a test, its class and its module."""
    words: list[str] = []
    for mark in request.node.iter_markers("foothold_limit"):
        words += [str(each) for each in mark.args]
        for name, value in mark.kwargs.items():
            word = name.replace("no_aslr", "no-aslr")
            words += [word] if value is True else [f"{word}={value}"]
    return "+".join(words) or "none"


def _with_remedy(error: FootholdError) -> str:
    return "; ".join(filter(None, (str(error), error.remedy)))
