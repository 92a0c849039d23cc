"""Real guests. Images come from the user's cache and are built if they are not there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from foothold_lab.harness import subjects
from foothold_lab.harness.api.guest import OpenGuest, open_guest
from foothold_lab.harness.api.subjects import subjects_of
from foothold_lab.harness.cli.context import make_vocabulary
from foothold_lab.harness.guests.base import Guest, GuestConfig
from foothold_lab.harness.guests.catalogue import catalogue, known_guests
from foothold_lab.harness.guests.uml import Uml, UmlKernel
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.model import events
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.plan import Selection, Vocabulary, find_plan, load_plan
from foothold_lab.harness.reporters import Bus
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.runner import RunOptions, RunSummary, run_cells
from foothold_lab.harness.subjects.packaged import subject
from foothold_lab.images.builder import Builder
from tests.guests.person import Person

BOOT = 120.0  # seconds; the machine may be busy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "guests" in Path(item.path).parts:
            item.add_marker(pytest.mark.guests)


@pytest.fixture(scope="session", autouse=True)
def images() -> Iterator[None]:
    """Tests in a home of their own (pytester's) use the images of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOOTHOLD_CACHE", str(Builder().cache.root))
        yield


@pytest.fixture(autouse=True)
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of tests are not the user's."""
    file = tmp_path / "history.db"
    monkeypatch.setenv("FOOTHOLD_HISTORY", str(file))
    return file


@pytest.fixture(scope="session")
def builder() -> Builder:
    return Builder()


@contextlib.contextmanager
def open_or_skip(name: str) -> Iterator[OpenGuest]:
    """Boot a guest of the interface; skip the test if this machine cannot boot it."""
    try:
        with open_guest(name) as opened:
            yield opened
    except UnsupportedError as error:
        pytest.skip(f"{name}: {error}")


@pytest.fixture
def place(tmp_path: Path, builder: Builder, processors: list[int]) -> GuestConfig:
    share = tmp_path / "share"
    share.mkdir()
    subjects.deploy(share)
    return GuestConfig(directory=tmp_path, share=share, builder=builder, cpu=processors[0])


BootGuest = Callable[[Guest], Facts]


@pytest.fixture
def boot() -> Iterator[BootGuest]:
    """Boot guests that are gone when the test is."""
    alive: list[Guest] = []

    def start(guest: Guest) -> Facts:
        support = guest.supported()
        if not support.ok:
            pytest.skip(f"{guest.name}: {support.reason}; {support.remedy}")
        alive.append(guest)
        return guest.boot(Deadline.after(BOOT))

    yield start
    for guest in alive:
        guest.stop()


@pytest.fixture
def uml(builder: Builder) -> Callable[..., VirtualMachine]:
    """Makes UML guests: of bookworm, unless an image is given, with options of UmlKernel."""

    def make(config: GuestConfig, image: str = "uml-bookworm", **options: object) -> VirtualMachine:
        release = builder.kernel_release(image)
        kernel = UmlKernel(release=release, image=image, **options)  # type: ignore[arg-type]
        return VirtualMachine(f"uml-{release}", Uml(kernel, config))

    return make


Sit = Callable[..., Person]


@pytest.fixture
def sit(tmp_path: Path) -> Iterator[Sit]:
    """People at terminals, who have gone when the test is over."""
    people: list[Person] = []

    def down(*words: str) -> Person:
        people.append(Person(*words, directory=tmp_path))
        return people[-1]

    yield down
    for each in people:
        each.tty.close(force=True)


@dataclass
class Happened:
    """A run, and everything that it said."""

    summary: RunSummary
    directory: Path
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    events: list[events.AnyEvent] = field(default_factory=list)


@pytest.fixture(scope="session")
def default_plan(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Happened:
    """The default plan on everything that this machine supports, once for all tests."""
    known = Vocabulary(known_guests(builder), ("before", "after"))
    plan = load_plan(find_plan("default"), known)
    cells = plan.cells()
    made = subjects_of(cells, plan, {})
    return happen(cells, builder, tmp_path_factory.mktemp("run"), subjects=made)


@dataclass
class Listener:
    """Keeps all events."""

    seen: list[events.AnyEvent]

    def __call__(self, event: events.AnyEvent) -> None:
        self.seen.append(event)

    def close(self) -> None:
        pass


def happen(
    cells: Sequence[object], builder: Builder, directory: Path, **options: object
) -> Happened:
    seen: list[events.AnyEvent] = []
    with Bus([Listener(seen), RunDirectoryReporter(directory)]) as bus:
        summary = run_cells(
            cells,  # type: ignore[arg-type]
            RunOptions(directory=directory, builder=builder, **options),  # type: ignore[arg-type]
            bus,
        )
    verdicts = {each.cell: each.verdict for each in seen if isinstance(each, events.CellFinished)}
    return Happened(summary, directory, verdicts, seen)


def run_plan(
    name: str, builder: Builder, directory: Path, selection: Selection
) -> dict[str, Verdict]:
    """Run the selected cells of a built-in plan; return their verdicts by name."""
    cells = load_plan(find_plan(name), make_vocabulary(builder)).cells(selection)
    packaged = {each: subject(each, builder) for each in {cell.subject for cell in cells}}
    return happen(cells, builder, directory, subjects=packaged).verdicts


def check_all_pass(verdicts: Mapping[str, Verdict]) -> None:
    """Every cell passes, unless this machine cannot boot its guest."""
    wrong = [
        f"{name}: {verdict}"
        for name, verdict in verdicts.items()
        if verdict.result not in (Result.PASS, Result.UNSUPPORTED)
    ]
    assert not wrong, "\n".join(wrong)


def names(builder: Builder) -> list[str]:
    return sorted(catalogue(builder))
