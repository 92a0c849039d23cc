"""The parts of a cluster that need no cluster: what travels, how groups are cut, what is refused."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.cluster.cutting import Chunk, cut, least_time, packed_time
from foothold_lab.harness.cluster.evidence import Inbox, Tree, send_tree
from foothold_lab.harness.cluster.luggage import Depot, Luggage, on_this_machine
from foothold_lab.harness.cluster.machine import largest_pack
from foothold_lab.harness.cluster.messages import (
    EvidenceLink,
    EvidencePart,
    FilePart,
    Found,
    Happened,
    Letter,
    Order,
    decode,
    encode,
)
from foothold_lab.harness.cluster.packs import Packs
from foothold_lab.harness.guests.catalogue import GuestType, catalogue, find_guest
from foothold_lab.harness.model import events, provenance
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import InfrastructureError, UnsupportedError, UsageError
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.placement import parse_placement, place, with_every_machine
from foothold_lab.harness.model.verdict import Attempt, Expectation, Result, Verdict
from foothold_lab.harness.model.workers import WorkerFacts
from foothold_lab.harness.plan.value_types import is_pattern
from foothold_lab.harness.run_directory import TreeBudget
from foothold_lab.harness.runner import RunOptions
from foothold_lab.harness.runner.guest_cells import CellGroup, Results, without_guest
from foothold_lab.harness.subjects import ProgramOptions, of_program
from foothold_lab.harness.threshold import (
    Edge,
    Missing,
    Threshold,
    ThresholdQuery,
    batch,
    find_thresholds,
)
from foothold_lab.harness.threshold.bisection import Probe, Search
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.progress import no_progress
from foothold_lab.images.recipes import Materials, Recipe
from foothold_lab.images.transfer import unpack

CELL = "native/none/true"


def cell(number: int = 1) -> Cell:
    return Cell(guest="native", limits=Limits(), policy="", subject="true", repeat=number)


def inbox(directory: Path, size: int = 1 << 20) -> Inbox:
    return Inbox(
        directory=directory,
        cells=(CELL,),
        suffix=".7",
        budget=TreeBudget("a task", size=size),
    )


def part(name: str, data: bytes = b"x") -> EvidencePart:
    return EvidencePart(name=name, data=data, mode=0o644)


def test_an_order_and_an_event_arrive_as_they_were_sent(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    expected = Expectation.parse("says:a.c")
    subject = Luggage().pack(of_program(str(program), ("a",), ProgramOptions(name="true")))
    order = Order(cells=(Cell(**{**vars(cell()), "expected": expected}),), subjects=(subject,))
    assert decode(encode(order), Order | FilePart) == order
    verdict = Verdict(cell=CELL, result=Result.PASS, seconds=0.5, expected=expected)
    letter = Letter(
        attempt=3, reports=(Happened(event=events.CellFinished(cell=CELL, verdict=verdict)),)
    )
    assert decode(encode(letter), Letter) == letter


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\x81\xa7attempt\x01", "text", None, b"\x90" * 9999]
)
def test_what_is_no_message_is_refused(data: object) -> None:
    with pytest.raises(InfrastructureError):
        decode(data, Letter)


def test_a_program_travels_with_its_mode_and_only_once(tmp_path: Path) -> None:
    program = tmp_path / "bin/program"
    program.parent.mkdir()
    program.write_bytes(b"#!/bin/sh\n" + b"# long\n" * 300_000)
    program.chmod(0o750)
    subject = of_program(str(program), (), ProgramOptions(files=(str(program.parent),)))
    luggage, depot = Luggage(), Depot(tmp_path / "depot")
    (tmp_path / "depot").mkdir()
    packed = luggage.pack(subject)
    keys = [str(key) for key in packed.files.values()]
    missing = depot.lacks(keys)
    assert len(missing) == 1, "the copies of a file are one file, and directories do not travel"
    parts = list(luggage.parts(missing[0]))
    assert len(parts) == 3
    for each in parts:
        depot.add(each)
    assert depot.lacks(keys) == ()
    arrived = depot.unpack(packed, Builder())
    assert arrived.argv == subject.argv
    for name, source in subject.files.items():
        assert arrived.files[name].is_dir() == source.is_dir()
        if source.is_file():
            assert arrived.files[name].read_bytes() == source.read_bytes()
            assert arrived.files[name].stat().st_mode == source.stat().st_mode


def test_a_program_that_is_not_on_the_worker_runs_from_where_it_arrived(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    subject = of_program(str(program))
    assert on_this_machine(subject, tmp_path / "scratch") == subject
    arrived = tmp_path / "arrived"
    program.rename(arrived)
    moved = Luggage().pack(of_program(str(arrived)))
    assert moved.argv == (str(arrived),)
    files = dict.fromkeys(subject.files, arrived)
    placed = on_this_machine(
        type(subject)(name="program", argv=subject.argv, files=files), tmp_path / "scratch"
    )
    assert placed.argv == (str(tmp_path / "scratch/program/program"),)
    assert os.access(placed.argv[0], os.X_OK)


@pytest.mark.parametrize("key", ["../etc/passwd", "directory-/", "directory-99999", "a" * 64, ""])
def test_a_key_is_no_path(tmp_path: Path, key: str) -> None:
    with pytest.raises(InfrastructureError):
        Depot(tmp_path).lacks([key])
    with pytest.raises(UsageError):
        list(Luggage().parts(key))


def test_a_file_that_is_not_that_of_its_key_is_refused(tmp_path: Path) -> None:
    depot = Depot(tmp_path)
    key = f"{'0' * 64}-644"
    with pytest.raises(InfrastructureError, match="has changed"):
        depot.add(FilePart(key=key, data=b"other", last=True))
    assert depot.lacks([key]) == (key,)


def test_a_pack_of_images_travels_as_a_file(tmp_path: Path) -> None:
    def make(_: Materials, out: Path) -> None:
        (out / "file").write_bytes(os.urandom(3 << 20))

    recipes = {"one": Recipe(name="one", make=make, space=0)}
    here = Builder(Cache(tmp_path / "here"), recipes=recipes)
    here.image("one")
    luggage, depot = Luggage(), Depot(tmp_path / "depot")
    (tmp_path / "depot").mkdir()
    packs = Packs(here, luggage, tmp_path)
    pack = packs.of(["one", "unknown"])
    assert pack is packs.of(["unknown", "one"])
    for each in luggage.parts(pack.key):
        depot.add(each)
    file = depot.path(pack.key)
    assert file.stat().st_size == pack.size
    there = Builder(Cache(tmp_path / "there"), recipes=recipes)
    unpack(there, file, "", no_progress, pack.key.partition("-")[0])
    assert there.missing(["one"]) == []
    assert packs.of(["unknown"]).reason
    assert not [each for each in tmp_path.iterdir() if each.is_file()], "a pack has no name"


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "1" * 10])
def test_a_limit_of_images_is_a_number(text: str) -> None:
    assert largest_pack("2") == 2 << 20
    with pytest.raises(UsageError, match="not a number"):
        largest_pack(text)


def test_a_subject_with_the_root_of_this_machine_does_not_travel() -> None:
    with pytest.raises(UsageError, match="--root host"):
        Luggage().pack(of_program("/bin/true", (), ProgramOptions(root="host")))


@pytest.mark.parametrize(
    "name",
    [
        "../x", "/etc/x", "cells/native/none/true", "cells/native/none/other/x", "run.json",
        "cells/native/none/true/../x", "guests/x", "guests/../x/y", "events.jsonl", "", "guests//x",
        "cells/native/none/true/a\0b",
    ],
)  # fmt: skip
def test_evidence_lies_only_in_the_places_of_its_task(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        inbox(tmp_path).add(part(name))
    assert list(tmp_path.iterdir()) == []


def test_evidence_arrives(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep/file").write_bytes(b"12345")
    (source / "empty").touch()
    (source / "deep/file").chmod(0o700)
    target = inbox(tmp_path / "run")
    assert send_tree(Tree(source, f"cells/{CELL}", 100), target.add) == []
    found = tmp_path / "run/cells" / CELL
    assert (found / "deep/file").read_bytes() == b"12345"
    assert (found / "empty").read_bytes() == b""
    assert (found / "deep/file").stat().st_mode & 0o777 == 0o700
    target.add(part("guests/uml/console.log"))
    assert (tmp_path / "run/guests/uml.7/console.log").read_bytes() == b"x"


def test_large_evidence_is_cut_and_small_evidence_is_whole(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (3 << 20))
    (tmp_path / "small").write_bytes(b"y" * 10)
    sent: list[EvidencePart | EvidenceLink] = []
    cut_files = send_tree(Tree(tmp_path, "cells/a", 2 << 20), sent.append)
    sizes = dict.fromkeys(("cells/a/large", "cells/a/small"), 0)
    for each in sent:
        assert isinstance(each, EvidencePart)
        sizes[each.name] += len(each.data)
    assert sizes == {"cells/a/large": (2 << 20) - 10, "cells/a/small": 10}
    assert len(cut_files) == 1
    assert "large" in cut_files[0]


def test_a_worker_cannot_fill_the_disk(tmp_path: Path) -> None:
    target = inbox(tmp_path, size=100)
    target.add(part(f"cells/{CELL}/a", b"x" * 60))
    with pytest.raises(OSError, match="more than"):
        target.add(part(f"cells/{CELL}/a", b"x" * 60))


def test_a_link_lies_in_a_share_and_nothing_is_written_through_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    run = tmp_path / "run"
    target = inbox(run)
    for name in (f"cells/{CELL}/link", "guests/uml/share", "guests/uml/other/link"):
        with pytest.raises(ValueError, match="not a link"):
            target.add(EvidenceLink(name=name, target="/"))
    target.add(EvidenceLink(name="guests/uml/share/out", target=str(outside)))
    target.add(part("guests/uml/share/out/file"))
    target.add(EvidenceLink(name="guests/uml/share/way", target=str(outside)))
    target.add(EvidenceLink(name="guests/uml/share/way/out", target="/"))
    with pytest.raises(OSError, match="directory"):
        target.close()  # a file lies where the first link leads
    assert list(outside.iterdir()) == []


@functools.cache
def native() -> GuestType:
    return catalogue(Builder())["native"]


def chunk(count: int, seconds: float) -> Chunk:
    group = CellGroup(
        kind=native(),
        root="image",
        cells=tuple(cell(number) for number in range(1, count + 1)),
        large=False,
    )
    return Chunk(group=group, seconds=seconds, memory=64)


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    boot=st.floats(0, 20),
    processors=st.integers(1, 64),
)
def test_cutting_keeps_all_cells_in_their_order(
    counts: list[int], boot: float, processors: int
) -> None:
    whole = [chunk(count, boot + count) for count in counts]
    parts = list(cut(whole, processors, lambda _: 1.0))
    assert [each for one in parts for each in one.group.cells] == [
        each for one in whole for each in one.group.cells
    ]
    assert all(one.group.cells for one in parts)
    for one in parts:
        assert one.seconds == pytest.approx(boot + len(one.group.cells))


def lengths(groups: list[tuple[int, float]], processors: int) -> list[int]:
    """How many cells of a second the chunks have of groups, each of so many cells and with a boot
    of so many seconds.
    """
    whole = [chunk(count, boot + count) for count, boot in groups]
    return [len(one.group.cells) for one in cut(whole, processors, lambda _: 1.0)]


def test_a_group_is_cut_where_all_end_sooner_with_a_boot_more() -> None:
    assert lengths([(60, 1.0)], 1) == [60]
    assert lengths([(60, 1.0)], 4) == [15, 15, 15, 15]
    assert lengths([(60, 30.0)], 4) == [15, 15, 15, 15], "the others have nothing else to do"
    assert lengths([(60, 30.0)] * 4, 4) == [60] * 4
    assert lengths([(60, 30.0)] * 5, 4) == [60] * 5, "or else each processor has a boot more"
    assert len(lengths([(60, 1.0)] * 5, 4)) > 5
    assert lengths([(1, 30.0)] * 5, 4) == [1] * 5


@given(
    groups=st.lists(st.tuples(st.integers(1, 60), st.floats(0.1, 5)), min_size=1, max_size=30),
    processors=st.integers(1, 64),
)
def test_the_packing_is_never_longer_than_that_of_whole_groups(
    groups: list[tuple[int, float]], processors: int
) -> None:
    whole = [chunk(count, boot + count) for count, boot in groups]
    chunks = [one.seconds for one in cut(whole, processors, lambda _: 1.0)]
    uncut = packed_time([one.seconds for one in whole], processors)
    assert packed_time(chunks, processors) <= uncut * 1.0001
    assert uncut * 1.0001 >= least_time(whole, processors, 0.0)


@pytest.mark.parametrize("name", ["native@*", "native@w1", "docker@board.lab"])
def test_the_machine_of_a_worker_is_a_guest(name: str) -> None:
    assert parse_placement(name) == name
    assert find_guest(catalogue(Builder()), name).name == name


@pytest.mark.parametrize("name", ["native@", "uml-6.1@w1", "native", "docker:image@sha256:1"])
def test_other_guests_are_no_machine_of_a_worker(name: str) -> None:
    assert parse_placement(name) == ""


@pytest.mark.parametrize("name", ["native@a/b", "native@..", "native@a b", f"native@{'a' * 64}"])
def test_the_name_of_a_worker_is_no_path(name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a worker"):
        parse_placement(name)


def test_a_star_stands_for_all_workers() -> None:
    star = Cell(guest="native@*", limits=Limits(), policy="", subject="true")
    other = Cell(guest="uml-6.1", limits=Limits(), policy="", subject="true")
    placed = place([star, other], ["w1", "w2"], ("--cluster", "tcp://h:1"))
    assert [each.guest for each in placed] == ["native@w1", "native@w2", "uml-6.1"]
    assert placed[0].command[2:6] == ("--guest", "native@w1", "--cluster", "tcp://h:1")
    assert placed[2] is other


def test_the_cells_of_native_also_run_on_every_machine() -> None:
    def of(guest: str, number: int) -> Cell:
        return replace(cell(number), guest=guest)

    cells = [of("native", 1), of("native", 2), of("docker", 1), of("native@w1", 1)]
    assert with_every_machine(cells) == (
        of("native", 1), of("native", 2), of("native@*", 1), of("native@*", 2), of("docker", 1),
        of("native@w1", 1),
    )  # fmt: skip


def threshold(guest: str = "native", subject: str = "true") -> Threshold:
    found = Search(
        edge=Edge.FOUND,
        smallest=64 << 30,
        largest=63 << 30,
        probes=(Probe(None, True), Probe(63 << 30, False)),
    )
    return Threshold(guest=guest, subject=subject, policy="", kind="rlimit_as", search=found)


def test_a_search_and_its_threshold_travel() -> None:
    order = Order(cells=(cell(),), query=ThresholdQuery(per_doubling=8))
    assert decode(encode(order), Order | FilePart) == order
    letter = Letter(attempt=1, reports=(Found(cell=CELL, threshold=threshold()),))
    assert decode(encode(letter), Letter) == letter


@pytest.mark.parametrize(
    ("name", "found"),
    [("native/none/other", threshold()), (CELL, threshold(guest="docker")),
     (CELL, threshold(subject="other"))],
)  # fmt: skip
def test_a_threshold_that_a_task_cannot_have_found_is_refused(
    tmp_path: Path, name: str, found: Threshold
) -> None:
    workforce_of = pytest.importorskip("foothold_lab.harness.cluster.coordinator").ClusterWorkforce
    cluster_of = pytest.importorskip("foothold_lab.harness.cluster.connection").Cluster
    task_of = pytest.importorskip("foothold_lab.harness.cluster.task").Task
    options = RunOptions(directory=tmp_path, builder=Builder())
    workforce = workforce_of(cluster_of("tcp://h:1", None), options, lambda _: None, {})
    task = task_of(
        number=7, chunk=chunk(1, 1.0), directory=tmp_path, orders=None, inbox=inbox(tmp_path),
        left={cell().id: cell()},
    )  # fmt: skip
    with pytest.raises(ValueError, match="no such threshold"):
        workforce._found(task, Found(cell=CELL, threshold=threshold()))  # it runs cells
    taken: dict[str, Threshold] = {}
    workforce._search = batch.Search(query=ThresholdQuery(), take=taken.__setitem__)
    with pytest.raises(ValueError, match=r"threshold|not a cell"):
        workforce._found(task, Found(cell=name, threshold=found))
    workforce._found(task, Found(cell=CELL, threshold=threshold()))
    assert taken == {CELL: threshold()}


@pytest.mark.parametrize("behind", [False, True])
def test_a_worker_that_was_not_read_is_not_silent(tmp_path: Path, behind: bool) -> None:
    coordinator = pytest.importorskip("foothold_lab.harness.cluster.coordinator")
    connection = pytest.importorskip("foothold_lab.harness.cluster.connection")
    task_of = pytest.importorskip("foothold_lab.harness.cluster.task").Task

    class Farm(connection.Cluster):  # type: ignore[misc]
        def look(self) -> None:
            """Find the same workers as before."""

    class Workforce(coordinator.ClusterWorkforce):  # type: ignore[misc]
        def _receive(self, reports: object) -> list[object]:
            tasks.update(self._tasks)
            self._tasks.clear()  # so that it reads once
            letter = encode(Letter(attempt=0, reports=()))
            return [letter] * (coordinator.LETTERS if behind else 1)

    tasks: dict[int, object] = {}
    told: list[events.AnyEvent] = []
    worker = facts(address="tcp://w1:1")
    cluster = Farm("tcp://h:1", None, workers={worker.address: worker})
    cluster._resources[worker.address] = {}
    options = RunOptions(directory=tmp_path, builder=Builder())
    workforce = Workforce(cluster, options, told.append, {})
    workforce._guesses["native"] = 1.0
    workforce._tasks[7] = task_of(
        number=7, chunk=chunk(1, 1.0), directory=tmp_path, orders=None, inbox=inbox(tmp_path),
        left={cell().id: cell()}, address=worker.address, name="w1",
        heard=time.monotonic() - coordinator.SILENT_SECONDS - 1,
    )  # fmt: skip
    results = Results(told.append)
    workforce._follow(None, results)
    workforce._tasks.update(tasks)
    workforce._look(results)
    lost = [each for each in told if isinstance(each, events.WorkerLost)]
    assert len(lost) == (0 if behind else 1)


class Searcher:
    """Finds one threshold, and loses one guest under a subject; no other guest boots."""

    def search(self, groups: Sequence[CellGroup], results: Results, search: batch.Search) -> None:
        lost = InfrastructureError("the worker was lost", "start it again")
        none = UnsupportedError("no engine answers", "start one")
        for group in groups:
            for each in group.cells:
                if group.kind.name == "docker":
                    results.add(without_guest(each, none))
                    continue
                results.tell(events.CellStarted(cell=each.id))
                if each.subject == "one":
                    search.take(each.id, threshold(subject="one"))
                    results.add(Verdict(cell=each.id, result=Result.PASS, seconds=1.0))
                else:
                    results.add(without_guest(each, lost))


def test_a_guest_that_does_not_boot_is_missing_once(tmp_path: Path) -> None:
    subjects = {
        name: of_program("/bin/true", (), ProgramOptions(name=name)) for name in ("one", "two")
    }
    options = RunOptions(directory=tmp_path, builder=Builder(), subjects=subjects)
    wanted = dict.fromkeys(("native", "docker"), ("one", "two"))
    found = find_thresholds(wanted, options, ThresholdQuery(), lambda _: None, Searcher())
    assert found.found == [threshold(subject="one")]
    assert found.missing == [
        Missing(guest="native", subject="two", why="the worker was lost; start it again"),
        Missing(guest="docker", subject="", why="no engine answers; start one", unsupported=True),
    ]


def test_only_a_cluster_can_make_the_machine_of_a_worker(tmp_path: Path) -> None:
    kind = find_guest(catalogue(Builder()), "native@w1")
    with pytest.raises(UsageError, match="the machine of a worker"):
        kind.supported(Builder(), tmp_path)


def facts(**changes: object) -> WorkerFacts:
    here = provenance.here()
    values = {
        "name": "w1", "host": "w1", "address": "tcp://w1:1", "kernel": "6", "machine": "x86_64",
        "processor": "p", "processors": 1, "memory": 1000, "foothold": here.version,
        "code": here.code, "python": here.python, **changes,
    }  # fmt: skip
    return msgspec.convert(values, WorkerFacts)


def test_a_worker_of_another_version_is_refused() -> None:
    connection = pytest.importorskip("foothold_lab.harness.cluster.connection")
    assert connection.objection(facts()) == ""
    assert "Python 2.7" in connection.objection(facts(python="2.7.18"))
    assert "0123" in connection.objection(facts(code="0123"))


def test_a_cluster_without_workers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    connection = pytest.importorskip("foothold_lab.harness.cluster.connection")
    monkeypatch.setattr(connection, "WORKERS_SECONDS", 0.1)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(UsageError, match="has no worker"),
        connection.connect(cluster.scheduler_address),
    ):
        pass


def test_a_look_finds_the_workers_that_come_and_go() -> None:
    distributed = pytest.importorskip("distributed")
    cluster_of = pytest.importorskip("foothold_lab.harness.cluster.connection").Cluster
    with (
        distributed.LocalCluster(
            n_workers=2, processes=False, protocol="inproc://", dashboard_address="127.0.0.1:0"
        ) as local,
        distributed.Client(local) as client,
    ):
        cluster = cluster_of(local.scheduler_address, client)
        for count in (2, 2, 3, 1):
            local.scale(count)
            client.sync(local._correct_state)
            cluster.look()
            there = client.sync(client.scheduler.ncores)
            assert len(there) == count
            assert cluster.refused.keys() == there.keys(), "they are none of ours"


@pytest.mark.parametrize("role", ["client", "worker"])
def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path, role: str) -> None:
    config = pytest.importorskip("dask.config")
    check = pytest.importorskip("foothold_lab.harness.cluster.connection").check_certificates
    missing, wrong = tmp_path / "missing.pem", tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    tls = "distributed.comm.tls"
    check("tcp://h:1", role)
    with pytest.raises(UsageError, match=f"names none for a {role}") as error:
        check("tls://h:1", role)
    assert f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__CERT" in str(error.value.remedy)
    for file in (missing, wrong):
        values = {f"{tls}.ca-file": str(file), f"{tls}.{role}.cert": str(file)}
        with config.set(values), pytest.raises(UsageError, match="cannot be used") as error:
            check("tls://h:1", role)
        assert file is wrong or "missing.pem" in str(error.value)


def test_what_happens_at_a_worker_has_no_time_of_its_clock(tmp_path: Path) -> None:
    task_of = pytest.importorskip("foothold_lab.harness.cluster.task").Task
    task = task_of(
        number=7, chunk=chunk(1, 1.0), directory=tmp_path, orders=None, inbox=inbox(tmp_path),
        left={cell().id: cell()},
    )  # fmt: skip
    booting = events.GuestBooting(at=12345.0, guest="native", boot="native")
    stopped = events.GuestStopped(at=12345.0, guest="native", boot="native")
    attempt = Attempt(result=Result.ERROR, seconds=1.0)
    retried = events.CellRetried(at=12345.0, cell=cell().id, attempt=attempt)
    for event in (task.of_guest(booting), task.of_guest(stopped), task.retried(retried)):
        assert event.at == 0.0, "the time is that at which the coordinator writes it"


def test_the_machines_of_all_workers_are_no_pattern() -> None:
    assert not is_pattern("native@*")
    assert is_pattern("native*")
