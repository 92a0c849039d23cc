"""Judging probes, the known differences, and the option --probe; without a guest."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from foothold_lab.harness.cli.bisect import is_bisection
from foothold_lab.harness.cli.probe_options import asked_for, with_probes
from foothold_lab.harness.conformance import (
    Kernel,
    KernelRange,
    KnownDifference,
    judge_kernel_faults,
    judge_killed_guest,
    judge_probes,
    known_differences,
    read_report,
)
from foothold_lab.harness.conformance.markdown import page
from foothold_lab.harness.conformance.run_reader import ConformanceRun, Measurement
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Conformance, Expectation, Observation, Outcome
from foothold_lab.harness.plan import find_plan, load_plan
from foothold_lab.harness.subjects.probes import GROUPS, LONE_PROBES, PROBES, subject_of_probe
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.probes import SOURCES, probe_names
from tests.unit.harness.test_plan_settings import KNOWN

ROOT = Path(__file__).parents[3]
SEEN = Observation(path=None, outcome=Outcome.DIES, status=1, signal=0, message="{")
DIFFERENCE = KnownDifference(
    probe="signal/one",
    kernels=KernelRange(guests=("uml-*",), since="6.1", before="6.13"),
    happens="it is lost",
    hits="everybody",
    reference="docs/x.md",
)


def _line(probe: str, result: str) -> str:
    fields = {"demand": "Keep it.", "source": "psABI", "measured": "lost", "errno": 0, "value": 3}
    return json.dumps({"probe": probe, "result": result, **fields})


def _judged(*lines: str, known: tuple[KnownDifference, ...] = ()) -> Observation:
    return judge_probes(SEEN, read_report("\n".join(lines).encode()), known)


def test_a_new_difference_is_a_finding_with_the_name_of_its_probe() -> None:
    judged = _judged(_line("signal/one", "differs"), _line("signal/two", "conforms"))
    [finding] = judged.contradictions
    assert finding.code is Code.CONFORMANCE_DIFFERS
    assert finding.text == "signal/one: lost. Demanded: Keep it. (psABI)"
    assert judged.evidence["probe signal/one"] == "lost"
    assert judged.evidence["probes"] == "2 were asked: 1 conform, 1 differ, 0 do not apply"
    assert "probe signal/two" not in judged.evidence


def test_a_known_difference_is_evidence_only() -> None:
    judged = _judged(_line("signal/one", "differs"), known=(DIFFERENCE,))
    assert not judged.contradictions
    assert judged.evidence["probe signal/one"] == "lost [conformance/known]"


@pytest.mark.parametrize(("sometimes", "codes"), [(False, [Code.CONFORMANCE_REPAIRED]), (True, [])])
def test_a_known_difference_that_is_gone_is_repaired(sometimes: bool, codes: list[Code]) -> None:
    known = dataclasses.replace(DIFFERENCE, sometimes=sometimes)
    judged = _judged(_line("signal/one", "conforms"), known=(known,))
    assert [each.code for each in judged.contradictions] == codes


def test_a_probe_that_does_not_apply_is_neither_different_nor_repaired() -> None:
    judged = _judged(_line("signal/one", "skipped"), known=(DIFFERENCE,))
    assert not judged.contradictions


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (_line("signal/one", "conforms"), '{"started": "signal/two"}'),
        (_line("signal/one", "conforms"), "a line of something else"),
        (_line("signal/one", "perhaps"),),
        ("{}",),
    ],
)
def test_an_incomplete_report_is_a_finding(lines: tuple[str, ...]) -> None:
    codes = {each.code for each in _judged(*lines).contradictions}
    assert codes == {Code.CONFORMANCE_INCOMPLETE}


def test_bytes_that_are_no_text_do_not_stop_the_reader() -> None:
    report = read_report(b'{"probe": "\xaf"}\n' + _line("signal/one", "conforms").encode())
    assert report.bad_lines == 1
    assert [each.probe for each in report.answers] == ["signal/one"]


def test_names_the_probe_under_which_the_guest_died() -> None:
    report = read_report(f'{_line("signal/one", "conforms")}\n{{"started": "x/y"}}'.encode())
    finding, evidence = judge_killed_guest(report, ("x",), "the guest panicked", ())
    assert finding and finding.code is Code.CONFORMANCE_GUEST_KILLED
    assert finding.text == "x/y: the guest panicked"
    assert evidence["probe x/y"].startswith("x/y: the guest panicked")


def test_a_guest_that_dies_at_once_names_what_was_asked() -> None:
    finding, evidence = judge_killed_guest(read_report(b""), ("x/y",), "it died", ())
    assert finding and finding.text == "x/y: it died"
    assert list(evidence) == ["probe x/y"]


def test_kernel_faults_under_a_probe_that_is_known_to_harm_its_guest_are_evidence() -> None:
    fault = Finding(Code.GUEST_KERNEL_WARNING, "BUG: Bad page map\nmore")
    report = read_report(_line("x/y", "conforms").encode())
    known = dataclasses.replace(DIFFERENCE, probe="x/y", effect="guest-killed")
    judged = judge_kernel_faults(SEEN, report, [fault], [known])
    assert not judged.contradictions
    assert judged.evidence == {"probe x/y": "BUG: Bad page map [conformance/known]"}
    assert judge_kernel_faults(SEEN, report, [fault], [DIFFERENCE]).contradictions == (fault,)


def test_a_probe_that_is_known_to_harm_its_guest_may_also_not_end() -> None:
    fault = Finding(Code.GUEST_KERNEL_WARNING, "BUG: Bad page map")
    report = read_report(b'{"started": "x/y"}')
    known = dataclasses.replace(DIFFERENCE, probe="x/y", effect="guest-killed")
    judged = judge_probes(SEEN, report, [known])
    assert not judged.contradictions
    assert judged.evidence["probe x/y"] == "it did not end [conformance/known]"
    judged = judge_kernel_faults(judged, report, [fault], [known])
    assert not judged.contradictions
    assert judged.evidence["probe x/y"] == "BUG: Bad page map [conformance/known]"
    hangs = dataclasses.replace(known, effect="differs")
    assert [each.code for each in judge_probes(SEEN, report, [hangs]).contradictions] == [
        Code.CONFORMANCE_INCOMPLETE
    ]


def test_a_guest_may_die_under_a_probe_that_is_known_to_kill_it() -> None:
    known = dataclasses.replace(DIFFERENCE, probe="x/y", effect="guest-killed")
    report = read_report(b'{"started": "x/y"}')
    finding, evidence = judge_killed_guest(report, ("x",), "the guest panicked", (known,))
    assert finding is None
    assert evidence == {"probe x/y": "the guest panicked [conformance/known]"}
    finding, _ = judge_killed_guest(report, ("x",), "the guest panicked", (DIFFERENCE,))
    assert finding


@pytest.mark.parametrize(
    ("guest", "release", "mode", "holds"),
    [
        ("uml-6.1", "6.1.0-37", "ptrace", True),
        ("uml-own", "6.12.74", "ptrace", True),
        ("uml-own", "6.13.0", "ptrace", False),
        ("uml-own", "5.10.3", "ptrace", False),
        ("qemu-x86_64", "6.1.0", "", False),
        ("uml-own", "6.12.0", "seccomp", False),
    ],
)
def test_a_difference_holds_for_a_range_of_kernels(
    guest: str, release: str, mode: str, holds: bool
) -> None:
    kernels = dataclasses.replace(DIFFERENCE.kernels, mode="ptrace")
    known = dataclasses.replace(DIFFERENCE, kernels=kernels)
    kernel = Kernel(guest=guest, release=release, mode=mode)  # type: ignore[arg-type]
    assert known.holds_for(kernel) is holds


def test_the_known_differences_name_probes_and_pages_that_exist() -> None:
    known = known_differences()
    assert len(known) > 40
    assert {each.probe for each in known} <= set(probe_names())
    for reference in {each.reference for each in known}:
        assert reference.startswith("https://") or (ROOT / reference).is_file(), reference


def test_a_known_difference_of_uml_names_its_place_in_the_source() -> None:
    """Its reference is a report with places in the kernel's source, and not docs/uml-differences.md,
    which is generated from these entries.
    """
    of_uml = [each for each in known_differences() if "uml-*" in each.kernels.guests]
    assert len(of_uml) > 60
    assert {Path(each.reference).parent for each in of_uml} == {Path("docs/upstream")}


def test_the_page_of_differences_has_every_known_one() -> None:
    text = (ROOT / "docs/uml-differences.md").read_text()
    for each in known_differences():
        assert f"| `{each.probe}`<br>" in text or f"* `{each.probe}`: " in text, each.probe
    assert all(each.happens in text for each in known_differences())


def test_the_page_of_differences_says_what_the_probes_demand() -> None:
    """The page is generated: its texts are changed in the sources of the probes."""
    text = (ROOT / "docs/uml-differences.md").read_text()
    sources = "".join(source.read_text() for source in SOURCES.glob("*.c"))
    found = re.findall(r'^(?:LONE_)?PROBE\(\w+,\s*"([^"]+)",\s*"([^"]+)"', sources, re.MULTILINE)
    assert {name for name, _ in found} == set(probe_names())
    demands = dict(found)
    rows = re.findall(r"^\| `([^`]+)`<br>.*$", text, re.MULTILINE)
    assert len(rows) > 50
    for row in text.splitlines():
        if row.startswith("| `") and "<br>" in row and "(its guest died)" not in row:
            assert demands[row.split("`")[1]].replace("|", "\\|") in row


def test_no_two_known_differences_hold_for_one_kernel() -> None:
    kernels = [
        Kernel(guest="uml-own", release=release, mode=mode)
        for release in ("5.10", "6.1", "6.12", "7.2")
        for mode in ("ptrace", "seccomp")
    ]
    kernels += [Kernel(guest=guest, release="4.4.0") for guest in ("gvisor", "docker", "native")]
    for kernel in kernels:
        names = [each.probe for each in known_differences() if each.holds_for(kernel)]
        assert len(names) == len(set(names)), kernel


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[difference]]\nprobe = 'a/b'\n", "missing required field"),
        ("[[difference]]\nprobe = 'a/b'\ncolour = 1\n", "unknown keys"),
        ("[other]\n", "unknown keys: other"),
        ("difference = 3\n", "difference"),
        ("[[difference]]\n" + "probe = 'ab'\n" + "guests = ['*']\nhappens = 'x'\nhits = 'x'\n"
         "reference = 'x'\n", "is not the name of a probe"),
        ("[[difference]]\n" + "probe = 'a/b'\n" + "guests = ['*']\nhappens = 'x'\nhits = 'x'\n"
         "reference = 'x'\nsince = '6'\n", "is not a version"),
        ("[[difference]]\n" + "probe = 'a/b'\n" + "guests = []\nhappens = 'x'\nhits = 'x'\n"
         "reference = 'x'\n", "a value is empty"),
        ("=", "Invalid"),
    ],
)  # fmt: skip
def test_rejects_a_file_of_differences_that_makes_no_sense(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "differences.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=problem):
        known_differences(file)


def test_every_group_and_every_lone_probe_is_a_subject_of_the_plan() -> None:
    names = probe_names()
    assert len(names) >= 150
    assert {name.partition("/")[0] for name in names} == set(GROUPS)
    assert {f"{group}.c" for group in GROUPS} | {"main.c"} == {
        each.name for each in SOURCES.glob("*.c")
    }
    assert {name for name, alone in names.items() if alone} == set(LONE_PROBES)
    known = dataclasses.replace(KNOWN, subjects=dict.fromkeys(PROBES, ""))
    plan = load_plan(find_plan("conformance"), known)
    cells = plan.cells()
    assert {cell.subject for cell in cells} == {each for each in PROBES if "arm64" not in each}
    assert {cell.expected and cell.expected.conformance for cell in cells} == {Conformance.KNOWN}
    assert not any(cell.trace for cell in cells)


@pytest.mark.parametrize("form", Conformance)
def test_an_expectation_asks_for_conformance(form: str) -> None:
    assert Expectation.parse(form).conformance == form


def test_asks_a_subject_for_single_probes() -> None:
    name = subject_of_probe("signal/direction-flag")
    assert name == "conformance-signal"
    assert subject_of_probe("mmap/scattered-pages") == "conformance-mmap.scattered-pages"
    probes = ("signal/direction-flag", "trap/flag")
    subject = Subject(name=name, argv=("/x/conformance", "signal"))
    [asked] = with_probes({name: subject}, probes).values()
    assert asked.argv == ("/x/conformance", "signal/direction-flag")
    cell = Cell(
        guest="uml-own", limits=Limits(), policy="", subject=name, asked=("--subject", name)
    )
    [cell] = asked_for([cell], probes)
    assert cell.asked == ("--probe", "signal/direction-flag")


def test_a_probe_of_a_kernel_of_the_user_is_a_bisection() -> None:
    words = ["run", "conformance", "--uml", "./linux", "--probe=signal/direction-flag"]
    assert is_bisection(words)
    assert not is_bisection(words[:4])


def _run_of(times: int) -> ConformanceRun:
    """Return a run of five repeats in which signal/one differed so often."""
    answer = read_report(_line("signal/one", "conforms").encode()).answers[0]
    shown = Measurement(text="lost", cell="uml-6.1/none/conformance-signal", times=times)
    return ConformanceRun(
        kernels={"uml-6.1": Kernel(guest="uml-6.1", release="6.1.176", mode="ptrace")},
        answers={"signal/one": {"uml-6.1": answer}},
        asked={"signal/one": {"uml-6.1": 5}},
        differing={"signal/one": {"uml-6.1": shown}} if times else {},
    )


@pytest.mark.parametrize(("times", "mark"), [(5, "x"), (3, "3/5"), (0, "0/5")])
def test_the_page_says_how_often_a_probe_differed(times: int, mark: str) -> None:
    known = dataclasses.replace(DIFFERENCE, sometimes=True)
    text = page(_run_of(times), [known])
    [row] = [line for line in text.splitlines() if line.startswith("| `signal/one`<br>")]
    assert f"| {mark} | Keep it. (psABI) | it is lost (since 6.1, before 6.13) | everybody" in row
    assert "one" not in text.partition("## Probes that conform in all guests")[2]


def test_the_page_leaves_out_a_difference_that_was_repaired() -> None:
    text = page(_run_of(0), [DIFFERENCE])
    assert not [line for line in text.splitlines() if line.startswith("| `signal/one`")]
    assert "`signal`: one." in text.partition("## Probes that conform in all guests")[2]
