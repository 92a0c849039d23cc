"""The survey: recorded traces shortened to wishes, told in two sentences, written as one page."""

from __future__ import annotations

import dataclasses
import datetime
import gzip
from pathlib import Path

import msgspec
import pytest

from foothold_lab.harness.cli import main
from foothold_lab.harness.cli.survey import limited
from foothold_lab.harness.evidence.strace import follow_subject, parse_trace
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import CellFinished, GuestReady, RunStarted
from foothold_lab.harness.model.ledger import Answer
from foothold_lab.harness.model.verdict import (
    Observation,
    Outcome,
    ReservationPath,
    Result,
    Verdict,
)
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.survey import (
    FILE,
    SubjectInfo,
    SurveyData,
    join,
    markdown,
    read,
    read_parts,
    write_parts,
)
from foothold_lab.harness.survey.digest import RequestGroup, group_requests, main_requests
from foothold_lab.harness.survey.loader import SurveyedCell
from foothold_lab.harness.survey.markdown import abbreviate_guests
from foothold_lab.harness.survey.prose import describe_cell
from foothold_lab.harness.threshold.bisection import Edge, Probe, Search, Threshold
from tests.unit.harness import samples

RECORDED = Path(__file__).parents[2] / "data" / "strace"
DOCS = Path(__file__).parents[3] / "docs"
TITLES = {
    "go-hello": SubjectInfo("Go", "1.24.4"),
    "c-tsan": SubjectInfo("ThreadSanitizer", "14.2.0"),
}


def recorded(name: str) -> tuple[RequestGroup, ...]:
    log = (RECORDED / f"{name}.log").read_bytes()
    return group_requests(follow_subject(parse_trace(log), int(log.split()[0])))


def seen(
    name: str, outcome: Outcome = Outcome.STARTS, message: str = "", **more: object
) -> SurveyedCell:
    status = 1 if outcome is Outcome.DIES else 0
    observed = Observation(
        path=ReservationPath.LOW,
        outcome=outcome,
        status=status,
        signal=0,
        message=message,
        last_output=message,
    )
    verdict = Verdict(cell="c", result=Result.PASS, seconds=1.0, observed=observed)
    return SurveyedCell(verdict=verdict, requests=recorded(name) if name else (), **more)  # type: ignore[arg-type]


def test_thresholds_are_those_of_the_cells_that_are_limited() -> None:
    cells = [
        Cell(guest=guest, limits=Limits.parse(limits), policy="", subject=subject, workload="")
        for guest, limits, subject in (
            ("native", "rlimit_as=4G", "go-hello"), ("native", "rlimit_as=1G", "go-hello"),
            ("native", "none", "haskell"), ("native", "rlimit_as=1G", "c-tsan"),
            ("uml-6.1", "rlimit_as=1G", "c-tsan"), ("gvisor", "none", "go-hello"),
        )
    ]  # fmt: skip
    assert limited(cells) == {"native": ("go-hello", "c-tsan"), "uml-6.1": ("c-tsan",)}


def test_gos_heap_is_one_wish_wherever_it_goes() -> None:
    *_, heap = recorded("native-go")
    assert (heap.asked, heap.answered, heap.then) == ("64M at 0xc000000000", "that", "")
    hints, bigger = recorded("uml-6.12-go")[-2:]
    assert (hints.count, hints.moved, hints.refused, hints.granted) == (64, 64, 0, False)
    assert hints.asked == "64M at 0xc000000000, and 63 times more, at last at 0x3fc000000000"
    assert (hints.answered, hints.then) == ("0x84960000", "gave it back, and asked for more")
    assert (bigger.asked, bigger.answered) == ("128M anywhere", "0x84960000")


def test_a_series_of_smaller_and_smaller_requests_is_one_wish() -> None:
    [group] = recorded("uml-6.12-haskell")
    assert (group.count, group.refused, group.moved, group.then) == (40, 22, 18, "took it")
    assert group.asked == (
        "1T at 0x4200000000, and 39 times more, at last at 0x4200027000 for 54.3G"
    )
    assert group.answered == "nothing (ENOMEM) 22 times, 0x48000000 18 times"


def test_a_request_that_never_came_back_is_not_told() -> None:
    group = recorded("uml-6.12-zgc")[-1]
    assert (group.exact, group.errno, group.last.length) == (True, "ENOMEM", 2000 << 20)
    assert all(each.first.answer is not Answer.REFUSED or each.errno for each in [group])


def test_what_is_left_out_is_glibcs_and_the_kernels_own() -> None:
    """The log has an arena for a thread's malloc, and Lisp's core laid over its own reservation."""
    assert b"134217728, PROT_NONE" in (RECORDED / "uml-6.12-haskell.log").read_bytes()
    lisp = recorded("uml-6.12-sbcl")
    assert [each.asked for each in main_requests(lisp)] == [
        "1024M at 0x1000000000",
        "221M at 0x52100000",
        "165M at 0xb7ffb00000",
    ]


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (
            seen("uml-6.12-go"),
            "It asks for 64M at 0xc000000000, and 63 times more, at last at "
            "0x3fc000000000; the kernel "
            "gives 0x84960000 and similar addresses instead. It gives it back, asks for "
            "128M anywhere, is given "
            "0x84960000, and starts.",
        ),
        (
            seen("uml-6.12-sbcl"),
            "It asks for 165M at 0xb7ffb00000; the kernel gives 0x403eb000 "
            "instead. It uses that "
            "address, and starts.",
        ),
        (
            seen("uml-6.12-haskell"),
            "It asks for 1T at 0x4200000000, and 39 times more, at last at "
            "0x4200027000 for 54.3G; the "
            "kernel refuses 22 times (ENOMEM) and gives 0x48000000 instead 18 times. It uses that "
            "address, and starts.",
        ),
        (
            seen(
                "uml-6.12-tsan",
                Outcome.DIES,
                "ThreadSanitizer: CHECK failed",
                output_lines=("ThreadSanitizer: CHECK failed",),
            ),
            "It asks for 1T at exactly 0x720000000000; the kernel refuses (ENOMEM). "
            "It dies with status 1 "
            "and prints “ThreadSanitizer: CHECK failed.”",
        ),
        (
            seen(
                "uml-6.12-zgc",
                Outcome.DIES,
                "[1.790s][error][gc] Failed to reserve 500M",
                output_lines=("[1.790s][error][gc] Failed to reserve 500M", "Error occurred"),
                trace_cut=True,
            ),
            "It asks for 8000M at exactly 0x40000000000, and 40 times more, at last at 0x442e5000000 "
            "for 2000M, and more; the kernel refuses each time (ENOMEM). It dies with status 1 and prints "
            "“Failed to reserve 500M. Error occurred.”",
        ),
        (
            seen("uml-6.12-haskell", Outcome.HANGS),
            "It asks for 1T at 0x4200000000, and 39 times more, at last at "
            "0x4200027000 for 54.3G; the "
            "kernel refuses 22 times (ENOMEM) and gives 0x48000000 instead 18 times. It hangs.",
        ),
        (
            seen("uml-6.12-go", trace_cut=True),
            "It asks for 64M at 0xc000000000, and 63 times more, at last at 0x3fc000000000; "
            "the kernel gives 0x84960000 and similar addresses instead. It gives it back, and repeats this "
            "until the trace ends; without a tracer it starts.",
        ),
        (
            seen("", Outcome.DIES, "==7==Shadow memory range interleaves"),
            "It makes no large request and asks for no address. It dies with status 1 "
            "and prints “Shadow memory range interleaves.”",
        ),
        (
            seen("", Outcome.DIES),
            "It makes no large request and asks for no address. "
            "It dies with status 1 and prints nothing.",
        ),
        (
            seen(
                "",
                Outcome.DIES,
                "no shadow",
                output_lines=("wants [0x7fff7000-0x10007fff7fff]",),
                address_space_end=0x7FC0000000,
                last_mappings=((0x400000, 0x401000, "a"), (0x7F0000000, 0x7F0020000, "")),
            ),
            "It makes no large request and asks for no address. The range that it "
            "names, 0x7fff7000-0x10007fff7fff, goes beyond the end of its address space, "
            "0x7fc0000000; a mapping lies in it at 0x7f0000000. "
            "It dies with status 1 and prints “no shadow.”",
        ),
        (
            seen(
                "",
                Outcome.DIES,
                "no shadow",
                output_lines=("wants 0x40010000-0x40100000",),
                address_space_end=1 << 47,
                last_mappings=((0x40000000, 0x40020000, "/lib/ld.so"),),
            ),
            "It makes no large request and asks for no address. The range that it "
            "names, 0x40010000-0x40100000, is not free; /lib/ld.so lies in it at 0x40000000. "
            "It dies with status 1 and prints “no shadow.”",
        ),
        (
            seen("native-go", Outcome.DIES, "no"),
            "The kernel grants all its requests; the largest is "
            "512M anywhere. It dies with status 1 and prints “no.”",
        ),
        (
            seen("", Outcome.DIES, "no", traced=False),
            "It was not traced. It dies with status 1 and prints “no.”",
        ),
    ],
)
def test_two_sentences(one: SurveyedCell, told: str) -> None:
    assert describe_cell(one) == told


def threshold(
    guest: str, subject: str, edge: Edge, smallest: int | None, largest: int | None
) -> Threshold:
    search = Search(edge=edge, smallest=smallest, largest=largest, probes=(Probe(None, True),))
    return Threshold(guest=guest, subject=subject, policy="", kind="rlimit_as", search=search)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two subjects in two guests, as `foothold survey` leaves it."""
    cells = [
        Cell(guest=guest, limits=limits, policy="", subject=subject, repeat=repeat)
        for guest in ("native", "uml-6.12")
        for limits in (Limits(), Limits(rlimit_as=1 << 30))
        for subject in TITLES
        for repeat in ((1, 2) if subject == "c-tsan" and not limits.named else (1,))
    ]
    cells += [
        Cell(guest="native", limits=Limits(ceiling=0x7F80000000), policy="", subject=subject)
        for subject in TITLES
    ]
    sink = RunDirectoryReporter(tmp_path)
    sink(
        RunStarted(
            at=1_800_000_000.0,
            run="r",
            plan="runtimes",
            directory=str(tmp_path),
            command=(),
            cells=tuple(cells),
        )
    )
    for guest, task_size in (("native", 0x7FFFFFFFF000), ("uml-6.12", 0x7F80000000)):
        ready = samples.ready(guest)
        facts = dataclasses.replace(samples.facts(task_size), release=f"of-{guest}")
        own = {"facts": facts, "own_kernel": guest != "native"}
        sink(GuestReady(**{**msgspec.structs.asdict(ready), **own}))
    for cell in cells:
        dies = cell.guest != "native" and cell.subject == "c-tsan" and cell.repeat == 1
        log = {"go-hello": "go", "c-tsan": "tsan"}[cell.subject]
        if cell.guest == "native":
            log = "native-go"
        observed = seen("", Outcome.DIES if dies else Outcome.STARTS, "no space").verdict.observed
        sink(
            CellFinished(
                cell=cell.id,
                verdict=Verdict(cell=cell.id, result=Result.PASS, seconds=1, observed=observed),
            )
        )
        trace = (RECORDED / f"{log if log == 'native-go' else f'uml-6.12-{log}'}.log").read_bytes()
        (tmp_path / "cells" / cell.id / "strace").write_bytes(trace)
        (tmp_path / "cells" / cell.id / "stderr").write_text("no space\n" if dies else "")
    sink.close()
    thresholds = (
        dataclasses.replace(
            threshold("native", "go-hello", Edge.FOUND, 688 << 20, 680 << 20),
            refused="mmap, 32M rw- at anywhere: refused, ENOMEM",
            observed="dies, status 2",
        ),
        threshold("uml-6.12", "go-hello", Edge.SEVERAL, 2 << 30, 1 << 30),
        threshold("uml-6.12", "c-tsan", Edge.NEVER, None, 64 << 30),
    )
    (tmp_path / FILE).write_bytes(
        msgspec.json.encode(
            SurveyData(
                subjects=TITLES,
                thresholds=thresholds,
                missing_thresholds=(("docker", "go-hello", "the engine is gone"),),
            )
        )
    )
    return tmp_path


def test_the_page(run: Path) -> None:
    survey = read(run)
    assert survey.date == datetime.date(2027, 1, 15)
    page = markdown(survey)
    assert "Measured on 2027-01-15 by `foothold survey`" in page
    assert "Kernels: uml-6.12 of-uml-6.12.\nRuntimes: Go 1.24.4, ThreadSanitizer 14.2.0." in page
    assert "### x86_64, pages of 4 KiB\n\n|  | native | uml-6.12 |\n" in page
    assert "| Go | starts | *moved* |" in page
    assert "| ThreadSanitizer | starts | **dies**, not always |" in page
    assert "0 of 2 start in all guests, at the addresses that they ask for." in page
    dying, _, moved = page.partition("## What starts elsewhere than it asked\n")
    assert "* **ThreadSanitizer**, uml-6.12 (39 bits): It asks" in dying
    assert "* **Go**, uml-6.12 (39 bits): It asks" in moved
    assert "* **Go**, uml-6.12 (39 bits): It asks for 64M at 0xc000000000, and 63 times" in page
    assert "| Go | native | 512M anywhere, and 1 time more |" in page
    assert "|  |  | 64M at 0xc000000000 | that |  |" in page
    assert (
        "| ThreadSanitizer | uml-6.12 | 1T at exactly 0x720000000000 | nothing (ENOMEM) | died |"
        in page
    )
    assert "| Go | 688M | 2G* |" in page
    assert "| ThreadSanitizer | - | never |" in page
    assert "* Not found: Go in docker: the engine is gone" in page
    assert "| Go | 680M, native | 32M rw- at anywhere: refused, ENOMEM | dies, status 2 |" in page
    assert "1 of 2 cells of the run under a limit agree with these sizes." in page
    assert "* Go in uml-6.12 under rlimit_as=1G: low, starts; its threshold is 2G" in page
    assert all(len(line) <= 100 or line[0] == "|" for line in page.splitlines() if line)


def test_guests_in_few_words() -> None:
    guests = (
        "native",
        "qemu-arm64",
        "uml-6.1",
        "uml-6.12",
        "qemu-riscv64-sv39",
        "qemu-riscv64-sv48",
        "qemu-user-arm64-39bit",
    )
    assert abbreviate_guests(guests) == (
        "native, qemu-arm64, uml-6.1, -6.12, qemu-riscv64-sv39, -sv48, qemu-user-arm64-39bit"
    )


def test_those_that_die_saying_something_else_are_told_apart(run: Path) -> None:
    survey = read(run)
    key = ("uml-6.12", "none", "c-tsan")
    other = seen("uml-6.12-tsan", Outcome.DIES, "unexpected mapping 0x7f00000000")
    cells = {**survey.cells, ("native", "none", "c-tsan"): other}
    page = markdown(dataclasses.replace(survey, cells=cells))
    assert "* **ThreadSanitizer**, native (47 bits)" in page
    assert "* **ThreadSanitizer**, uml-6.12 (39 bits)" in page
    cells[key] = seen("uml-6.12-tsan", Outcome.DIES, "unexpected mapping 0x55550000")
    page = markdown(dataclasses.replace(survey, cells=cells))
    assert "* **ThreadSanitizer**, native, uml-6.12 (47 and 39 bits)" in page


def test_one_runtime_on_several_machines_is_one_row(run: Path) -> None:
    """Its name says which machine's it is; an emulator's log is its trace."""
    guest, subject = "qemu-user-arm64-39bit", "c-tsan-arm64"
    events = (run / "events.jsonl").read_bytes().splitlines()
    started = msgspec.json.decode(events[0], type=RunStarted)
    cell = Cell(guest=guest, limits=Limits(), policy="", subject=subject)
    started = msgspec.structs.replace(started, cells=(*started.cells, cell))
    facts = dataclasses.replace(samples.facts(0x8000000000), release="x")
    ready = GuestReady(**{**msgspec.structs.asdict(samples.ready(guest)), "facts": facts})
    lines = [msgspec.json.encode(started), *events[1:], msgspec.json.encode(ready)]
    (run / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    place = run / "cells" / cell.id
    place.mkdir(parents=True)
    observed = seen("", Outcome.STARTS).verdict.observed
    verdict = Verdict(cell=cell.id, result=Result.PASS, seconds=1, observed=observed)
    (place / "verdict.json").write_bytes(msgspec.json.encode(verdict))
    anywhere = b"0,1099511627776,PROT_NONE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0"
    (place / "emulator.log").write_bytes(
        b"7 mmap(%b) = 0x0000004000000000\n7 exit_group(0)\n" % anywhere.replace(b"0,", b"NULL,", 1)
    )
    titles = {**TITLES, subject: SubjectInfo(TITLES["c-tsan"].title, "16.1.0")}
    known = msgspec.json.decode((run / FILE).read_bytes(), type=SurveyData)
    (run / FILE).write_bytes(msgspec.json.encode(dataclasses.replace(known, subjects=titles)))
    page = markdown(read(run))
    assert "ThreadSanitizer 14.2.0 (arm64 16.1.0)." in page
    assert "| Go | starts | *moved* | - |" in page
    assert "| ThreadSanitizer | starts | **dies**, not always | starts |" in page
    assert f"| ThreadSanitizer | {guest} | 1T anywhere | 0x4000000000 |  |" in page


@pytest.mark.parametrize("kernel", [True, False])
def test_what_stood_in_the_way_is_told_by_the_kernel_or_else_by_the_program(
    run: Path, kernel: bool
) -> None:
    place = run / "cells" / "uml-6.12" / "none" / "c-tsan"
    lines = (place / "strace").read_bytes().splitlines(keepends=True)
    (place / "strace").write_bytes(
        b"".join(each for each in lines if b"0x720000000000" not in each)
    )
    own = "\t0x100000000-0x100001000\t/of-its-own\n"
    (place / "stderr").write_text(f"7==No room in [0x90000000-0x8000000000]\n{own}")
    if kernel:
        (place / "maps-end").write_text("100000000-100001000 r-xp 00000000 fe:00 7 /lib/ld.so\n")
    name = "/lib/ld.so" if kernel else "/of-its-own"
    told = " ".join(markdown(read(run)).split())
    assert f"its address space, 0x7f80000000; {name} lies in it at 0x100000000." in told


def test_the_page_can_be_written_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["survey", "--from-run", str(run)]) == 0
    assert capsys.readouterr().out == markdown(read(run))


def test_results_are_kept_in_a_file(
    run: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path_factory.mktemp("results")
    file, again = place / "results.json.gz", place / "again.json.gz"
    assert main.main(["survey", "--from-run", str(run), "--results", str(file)]) == 0
    page = capsys.readouterr().out
    assert read(file) == read(run)
    # the run once more: nothing is counted twice
    words = ["survey", "--from-run", str(file), "--from-run", str(run), "--results", str(again)]
    assert main.main(words) == 0
    assert capsys.readouterr().out == page
    assert again.read_bytes() == file.read_bytes()
    assert str(run) not in gzip.decompress(file.read_bytes()).decode()


def test_a_result_file_names_no_path_of_the_store(run: Path) -> None:
    [part] = read_parts(run)
    path = "/home/me/cache/store/java-00112233445566ff/lib/libjvm.so"
    [cell, *others] = part.cells
    seen = dataclasses.replace(cell.seen, output_lines=(f"in {path}:", f'"{path}" [{path}+0x1]'))
    named = dataclasses.replace(part, cells=(dataclasses.replace(cell, seen=seen), *others))
    data = gzip.decompress(write_parts([named]))
    assert b"/home" not in data
    short = "java/lib/libjvm.so"
    found = msgspec.json.decode(data)["parts"][0]["cells"][0]["seen"]["output_lines"]
    assert found == [f"in {short}:", f'"{short}" [{short}+0x1]']


def test_the_pages_are_those_of_the_results(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "survey.html"
    words = ["survey", "--from-run", str(DOCS / "survey.json.gz"), "--html", str(page)]
    assert main.main(words) == 0
    assert capsys.readouterr().out == (DOCS / "survey.md").read_text()
    assert page.read_bytes() == (DOCS / "survey.html").read_bytes()


def test_surveys_of_several_days_make_one_page(run: Path) -> None:
    [part] = read_parts(run)
    uml = tuple(each for each in part.cells if each.guest != "native")
    later = dataclasses.replace(part, at=part.at + 86400, cells=uml)
    survey = join([part, later])
    assert (survey.date - survey.first).days == 1
    assert f"Measured from {survey.first} to {survey.date} by" in markdown(survey)
    assert survey.cells == read(run).cells


@pytest.mark.parametrize(
    "data", [b"", b"text", gzip.compress(b"{}", mtime=0), gzip.compress(b"[" * 9999, mtime=0)]
)
def test_a_file_that_holds_no_results(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "results.json.gz"
    file.write_bytes(data)
    assert main.main(["survey", "--from-run", str(file)]) == 2
    file.write_bytes(gzip.compress(b" " * (1 << 20))[:-9])
    assert main.main(["survey", "--from-run", str(file)]) == 2


def test_the_page_of_a_farm_has_the_kernel_of_each_machine(run: Path) -> None:
    [part] = read_parts(run)
    assert "cluster" not in markdown(join([part]))
    facts = dataclasses.replace(part.guests["native"], release="6.99")
    cells = tuple(
        dataclasses.replace(each, guest="native@w1")
        for each in part.cells
        if each.guest == "native"
    )
    farm = dataclasses.replace(
        part,
        cells=(*part.cells, *cells),
        guests={**part.guests, "native@w1": facts},
        releases={**part.releases, "native@w1": "6.99"},
    )
    page = markdown(join([farm]))
    assert "`native@NAME` is the machine of the worker NAME" in page
    assert "native@w1 6.99" in page


def test_a_directory_without_a_survey(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no survey"):
        read(tmp_path)
    assert main.main(["survey", "--from-run", str(tmp_path)]) == 2


def test_an_imitated_kernel_is_held_against_the_real_one(run: Path) -> None:
    _, _, told = markdown(read(run)).partition("## A kernel imitated\n")
    assert (
        "In native under `ceiling=0x7f80000000`, 0 of 2 behave as in uml-6.12. These differ:"
        in told
    )
    assert (
        "* **Go**: It starts, and the kernel grants all its requests. In uml-6.12: It asks for 64M"
        in told
    )
