"""What pytest sees: options, markers, fixtures, and what a failed test's report has in addition.

pytest imports this whenever the package is installed, so the laboratory itself is imported when the
first test asks for it.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from foothold_lab.harness.model.errors import FootholdError, UnsupportedError, UsageError
from foothold_lab.harness.model.verdict import Expectation, Result, Verdict

if TYPE_CHECKING:
    from foothold_lab.harness.model.facts import Facts
    from foothold_lab.harness.pytest_plugin.lab import Booted, Lab

_LAB: pytest.StashKey[Lab] = pytest.StashKey()
_USED: pytest.StashKey[list[tuple[Booted, int]]] = pytest.StashKey()
_MARKERS = (
    "guest(*names): the guests that a test's `guest` is, instead of all that are to be had",
    "limit(*words, **limits): what narrows the address space: limit(rlimit_as='300M')",
    "needs_kvm: skip the test where KVM does not work",
)
_MAPS_LINES = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the command line, and of the configuration file."""
    group = parser.getgroup("foothold", "guests of Foothold")
    group.addoption(
        "--foothold-guest",
        action="append",
        metavar="G",
        default=[],
        help="run tests on this guest alone; may be given more than once",
    )
    group.addoption(
        "--foothold-require",
        action="store_true",
        help="a guest that this machine cannot boot fails its tests",
    )
    parser.addini("foothold_guests", "the guests of tests that name none", "linelist", [])


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With xdist, keep tests of one guest in one process: so it is booted once for all of them.

    (Not by xdist_group: pytest 9.2 knows nothing of the names that xdist 3.8 gives to groups.)
    """
    if config.option.dist != "load":
        return None  # somebody has chosen
    from xdist.scheduler import LoadScopeScheduling

    names = sorted(_lab(config).guests(), key=len, reverse=True)

    class ByGuest(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            _, _, parameters = nodeid.partition("[")
            return next((name for name in names if name in parameters), nodeid)

    return ByGuest(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what is still alive."""
    if lab := config.stash.get(_LAB, None):
        lab.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each guest out of a test that asks for `guest`."""
    if "guest" not in metafunc.fixturenames or "guest" in _parametrized(metafunc):
        return
    lab = _lab(metafunc.config)
    try:
        names = _asked(metafunc, lab)
    except FootholdError as error:
        raise pytest.UsageError(f"{error}; {error.remedy}") from error
    metafunc.parametrize("guest", names, ids=names, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests of one guest one after another: it is booted once, and one lives at a time."""
    names = list(dict.fromkeys(filter(None, map(_guest_of, items))))
    order = {name: n for n, name in enumerate(["", *names])}
    items.sort(key=lambda item: order[_guest_of(item)])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs KVM where there is none."""
    if item.get_closest_marker("needs_kvm"):
        from foothold_lab.harness.guests.kvm_probe import Kvm

        kvm = Kvm(_lab(item.config).builder.cache.root)
        if reason := kvm.reason():
            pytest.skip(f"KVM does not work here: {reason}; {kvm.remedy()}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Put a guest's console, and the last subject's maps, into the report of a failed test."""
    report = yield
    if report.failed:
        for booted, asked_before in item.stash.get(_USED, []):
            console = booted.guest.diagnose()
            report.sections.append((f"console of {booted.name}", console or "(silent)"))
            for verdict in booted.verdicts[asked_before:][-1:]:
                report.sections += _evidence(booted, verdict)
    return report


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Booted:
    """A guest that answers, shared by all tests of the session: one test for each guest."""
    lab = _lab(request.config)
    booted = _or_skip(request, request.param, lambda: lab.shared(request.param))
    _use(request, booted)
    return booted


@pytest.fixture
def facts(guest: Booted) -> Facts:
    """The address space of `guest`, as measured."""
    return guest.facts


class BootGuest(Protocol):
    """Boots a guest by its name."""

    def __call__(self, name: str) -> Booted:
        """Boot it; the test is skipped if this machine cannot."""


@pytest.fixture
def boot(request: pytest.FixtureRequest) -> BootGuest:
    """Boots guests of the test's own, which are gone when it is."""
    lab = _lab(request.config)

    def start(name: str) -> Booted:
        canonical = lab.name(name)
        one = lab.fresh(canonical)
        booted = _or_skip(request, canonical, one.__enter__)
        request.addfinalizer(lambda: one.__exit__(None, None, None))
        _use(request, booted)
        return booted

    return start


class RunCell(Protocol):
    """Asks a guest one question."""

    def __call__(
        self,
        subject: str | Path | None = None,
        *arguments: str,
        expect: str = "",
        limits: str = "",
        policy: str = "after",
        workload: str = "default",
        files: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        guest: Booted | None = None,
    ) -> Verdict:
        """Run a program (its path), or the allocator, to a verdict; `expect` and `limits` are words
        as on the command line. A question that the guest cannot be asked skips the test.
        """


@pytest.fixture
def run_cell(request: pytest.FixtureRequest, guest: Booted) -> RunCell:
    """Asks `guest` one question after another, under the test's `limit`."""
    from foothold_lab.harness.model.limits import Limits
    from foothold_lab.harness.pytest_plugin.lab import program

    lab, here = _lab(request.config), guest
    marked = _limits(request)

    def run(
        subject: str | Path | None = None,
        *arguments: str,
        expect: str = "",
        limits: str = "",
        policy: str = "after",
        workload: str = "default",
        files: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        guest: Booted | None = None,
    ) -> Verdict:
        __tracebackhide__ = True  # what is wrong with a question stands where it is asked
        try:
            given = [str(each) for each in files]
            made = (
                program(str(subject), arguments, given, environment or {}, timeout)
                if subject is not None
                else None
            )
            words = expect or ("starts" if made else "")
            verdict = lab.ask(
                guest or here,
                Limits.parse(limits or marked),
                policy=policy,
                workload=workload,
                program=made,
                expect=_declared(words),
            )
        except UsageError as error:
            raise pytest.fail.Exception(
                "; ".join(filter(None, (str(error), error.remedy)))
            ) from None
        if verdict.result is Result.UNSUPPORTED:
            pytest.skip("; ".join((*verdict.findings, verdict.remedy)))
        return verdict

    return run


def _declared(words: str) -> Expectation | None:
    try:
        return Expectation.parse(words) if words else None
    except ValueError as error:
        raise UsageError(str(error)) from error


def _lab(config: pytest.Config) -> Lab:
    from foothold_lab.harness.pytest_plugin.lab import Lab

    lab = config.stash.get(_LAB, None)
    if lab is None:
        # the reporter knows where in a line it is; xdist's workers have none
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        capture = config.pluginmanager.get_plugin("capturemanager")

        def tell(what: str, /, *, passing: bool = False) -> None:
            if passing or not reporter:
                return
            with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
                reporter.write_line(what)

        factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined]
        lab = config.stash[_LAB] = Lab(factory.mktemp("foothold"), tell)
    return lab


def _guest_of(item: pytest.Item) -> str:
    call = getattr(item, "callspec", None)
    name = call.params.get("guest", "") if call else ""
    return name if isinstance(name, str) else ""


def _parametrized(metafunc: pytest.Metafunc) -> set[str]:
    """The names that a test's own `parametrize` marks give values to."""
    names: set[str] = set()
    for mark in metafunc.definition.iter_markers("parametrize"):
        given = mark.args[0] if mark.args else mark.kwargs.get("argnames", "")
        names.update(given.replace(",", " ").split() if isinstance(given, str) else given)
    return names


def _asked(metafunc: pytest.Metafunc, lab: Lab) -> list[str]:
    """Which guests: those of the marker, else those configured, else all that are to be had; of
    these, what the command line asks for.
    """
    config = metafunc.config
    marker = metafunc.definition.get_closest_marker("guest")
    named = list(marker.args) if marker else config.getini("foothold_guests")
    names = list(dict.fromkeys(lab.name(each) for each in named))
    if not names:
        here = platform.machine()  # what tests hand in is of this machine, if nobody says otherwise
        names = [
            name
            for name, kind in lab.guests().items()
            if kind.machines[0] == here and lab.support(name).ok
        ]
    alone = {lab.name(each) for each in config.getoption("--foothold-guest")}
    return [name for name in names if not alone or name in alone]


def _or_skip(request: pytest.FixtureRequest, name: str, start: Callable[[], Booted]) -> Booted:
    try:
        return start()
    except UnsupportedError as error:
        words = f"{name}: {error}; {error.remedy}"
        if request.config.getoption("--foothold-require"):
            pytest.fail(words, pytrace=False)
        pytest.skip(words)


def _use(request: pytest.FixtureRequest, booted: Booted) -> None:
    request.node.stash.setdefault(_USED, []).append((booted, len(booted.verdicts)))


def _limits(request: pytest.FixtureRequest) -> str:
    """The words of all `limit` marks of a test, its class and its module, joined."""
    words: list[str] = []
    for mark in request.node.iter_markers("limit"):
        words += [str(each) for each in mark.args]
        for name, value in mark.kwargs.items():
            word = name.replace("no_aslr", "no-aslr")
            words += [word] if value is True else [f"{word}={value}"]
    return "+".join(words) or "none"


def _evidence(booted: Booted, verdict: Verdict) -> list[tuple[str, str]]:
    """What the last cell left behind, for a report."""
    lines = [f"{verdict.cell}: {verdict.result}", *verdict.findings, *verdict.notes]
    if verdict.observed:
        lines += [f"{who}: {what}" for who, what in verdict.observed.evidence.items()]
    sections = [(f"last cell of {booted.name}", "\n".join(lines))]
    for maps in sorted(Path(verdict.artefacts).glob("maps-*"))[-1:] if verdict.artefacts else ():
        text = maps.read_text().splitlines()
        more = [f"… {len(text) - _MAPS_LINES} more"] if len(text) > _MAPS_LINES else []
        sections.append((f"{maps.name} of {verdict.cell}", "\n".join(text[:_MAPS_LINES] + more)))
    return sections
