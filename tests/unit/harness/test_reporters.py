"""The bus, the files that a run leaves, and text from guests."""

from __future__ import annotations

import json
import re
import threading
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.escape import escape_line, escape_lines, escape_xml
from foothold_lab.harness.model.events import AnyEvent
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.reporters import Bus
from foothold_lab.harness.reporters.atomic_write import write_whole
from foothold_lab.harness.reporters.json_document import Document
from foothold_lab.harness.reporters.jsonl import JsonLinesReporter
from foothold_lab.harness.reporters.junit import JUnitReporter, suites
from foothold_lab.harness.reporters.result import RunResult
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.reporters.schema import page
from foothold_lab.harness.reporters.summary_json import JsonReporter
from tests.unit.harness import samples


class Listener:
    def __init__(self, fails_at: int = -1) -> None:
        self.heard: list[AnyEvent] = []
        self.closed = 0
        self._fails_at = fails_at

    def __call__(self, event: AnyEvent) -> None:
        if len(self.heard) == self._fails_at:
            raise OSError(28, "No space left on device")
        self.heard.append(event)

    def close(self) -> None:
        self.closed += 1


def a_run() -> list[AnyEvent]:
    """One cell of each result, and one that was not reached."""
    native, uml, docker = samples.cell(), samples.cell("uml-6.1"), samples.cell("docker")
    lost = samples.cell("qemu-x86_64")
    late = samples.cell("qemu-x86_64", "before")
    seen = samples.observation(samples.LOW_ALLOCATES, evidence={"maps": "\x1b[31m low"})
    return [
        samples.started(native, uml, docker, lost, late),
        events.GuestBooting(guest="native", images={"agent": "agent-1"}),
        samples.ready("native"),
        events.CellStarted(cell=native.id),
        samples.done(native, observed=samples.observation(samples.HIGH_ALLOCATES)),
        samples.done(
            uml, Result.FAIL, "the plan expects high", observed=seen, console="\x1b[2Jpanic",
            remedy="look",
        ),
        samples.done(docker, Result.UNSUPPORTED, "no engine answers", remedy="start one"),
        events.GuestFailed(
            guest="qemu-x86_64", code=Code.GUEST_BOOT, message="hung", remedy="", blame="guest", console="...",
            argv=("qemu", "-x"),
        ),
        samples.done(lost, Result.ERROR, "hung"),
        events.GuestStopped(guest="native"),
    ]  # fmt: skip


def test_the_bus_stamps_and_tells_everybody_in_order() -> None:
    one, two = Listener(), Listener()
    with Bus([one]) as bus:
        bus(events.Progress(what="a"))
        bus.add(two)
        bus(events.Progress(what="b", at=7.0))
    assert [event.what for event in one.heard if isinstance(event, events.Progress)] == ["a", "b"]
    assert one.heard[0].at > 1_600_000_000
    assert two.heard[0].at == 7.0
    assert (one.closed, two.closed) == (1, 1)


def test_a_sink_that_fails_is_dropped_and_hurts_nobody() -> None:
    told: list[str] = []
    bad, good = Listener(fails_at=1), Listener()
    with Bus([bad, good], warn=told.append) as bus:
        for what in "abc":
            bus(events.Progress(what=what))
    assert (len(bad.heard), len(good.heard)) == (1, 3)
    assert (bad.closed, good.closed) == (1, 1)
    assert told == [
        "foothold: Listener failed and was switched off: OSError: [Errno 28] No space left "
        "on device"
    ]


def test_a_sink_that_cannot_close_keeps_no_other_from_closing() -> None:
    class Stuck(Listener):
        def close(self) -> None:
            raise OSError("stuck")

    told: list[str] = []
    good = Listener()
    Bus([Stuck(), good], warn=told.append).close()
    assert good.closed == 1
    assert "stuck" in told[0]


def test_many_threads_may_speak_at_once() -> None:
    inside = 0

    class Careful(Listener):
        def __call__(self, event: AnyEvent) -> None:
            nonlocal inside
            inside += 1
            assert inside == 1
            super().__call__(event)
            inside -= 1

    sink, told = Careful(), list[str]()
    with Bus([sink], warn=told.append) as bus:
        threads = [
            threading.Thread(target=lambda: [bus(events.Progress(what="x")) for _ in range(100)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(sink.heard) == 800
    assert told == []


def test_every_event_is_a_line_at_once(tmp_path: Path) -> None:
    sink = JsonLinesReporter(tmp_path / "new" / "events.jsonl")
    for event in a_run():
        sink(event)
    lines = (tmp_path / "new" / "events.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=events.AnyEvent) for line in lines] == a_run()
    sink.close()


def test_the_page_of_the_schema_is_up_to_date() -> None:
    written = (Path(__file__).parents[3] / "docs/result-schema.md").read_text()
    assert written == page(), "./foothold schema --markdown > docs/result-schema.md"
    for each in re.findall(r"\]\(#(\w+)\)", written):
        assert re.search(rf"^## {each}$", written, re.MULTILINE | re.IGNORECASE)


def test_the_document_is_of_the_schema_that_is_printed(tmp_path: Path) -> None:
    sink = JsonReporter(str(tmp_path / "out.json"))
    for event in a_run():
        sink(event)
    sink.close()
    data = (tmp_path / "out.json").read_bytes()
    read = msgspec.json.decode(data, type=Document, strict=True)
    assert msgspec.json.encode(read) == msgspec.json.encode(msgspec.json.decode(data))
    described = msgspec.json.schema(Document)
    assert {"Document", "Verdict", "Facts"} <= set(described["$defs"])


def test_the_run_as_one_document(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    sink = JsonReporter(str(path))
    for event in [*a_run(), samples.finished(**{"pass": 1})]:
        sink(event)
    assert not path.exists()
    sink.close()
    whole = json.loads(path.read_text())
    assert (whole["schema"], whole["plan"], whole["interrupted"]) == (2, "default", False)
    assert whole["counts"] == {"pass": 1, "fail": 1, "error": 1, "unsupported": 1, "not-run": 1}
    assert [each["id"] for each in whole["cells"]][:2] == [
        "native/none/after",
        "uml-6.1/none/after",
    ]
    assert whole["cells"][1]["verdict"]["findings"] == [
        {"code": "plan/expectation", "text": "the plan expects high"}
    ]
    assert whole["cells"][4]["verdict"] is None
    assert whole["guests"]["native"]["facts"]["task_size"] == 0x7FFFFFFFF000
    assert whole["guests"]["native"]["argv"] == ["agent", "keep"]
    assert whole["guests"]["native"]["images"] == {"agent": "agent-1"}
    assert whole["guests"]["qemu-x86_64"]["failure"]["message"] == "hung"
    assert whole["guests"]["qemu-x86_64"]["argv"] == ["qemu", "-x"]


def test_the_document_on_standard_output(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    JsonReporter("-").close()
    assert json.loads(capsysbinary.readouterr().out)["interrupted"] is True


def test_junit_counts_and_says_what_a_ci_shows(tmp_path: Path) -> None:
    path = tmp_path / "out.xml"
    sink = JUnitReporter(str(path))
    for event in a_run():
        sink(event)
    sink.close()
    root = ET.parse(path).getroot()
    assert {name: root.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "5",
        "failures": "1",
        "errors": "2",
    }
    by_name = {suite.get("name"): suite for suite in root}
    failure = by_name["uml-6.1"].find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "the plan expects high"
    assert failure.get("type") == "plan/expectation"
    assert "remedy: look" in (failure.text or "")
    assert "--guest uml-6.1" in (failure.text or "")
    output = by_name["uml-6.1"].findtext("testcase/system-out")
    assert output == "maps: \\x1b[31m low"
    skipped = by_name["docker"].find("testcase/skipped")
    assert skipped is not None
    assert skipped.get("message") == "no engine answers: start one"
    assert (skipped.text or "").startswith("no engine answers: start one\n")
    assert "\nagain: " in (skipped.text or "")
    assert skipped.get("type") == "unsupported/guest"
    late = by_name["qemu-x86_64"].findall("testcase/error")[-1]
    assert "not run" in (late.get("message") or "")
    case = by_name["uml-6.1"].find("testcase")
    assert case is not None
    assert (case.get("classname"), case.get("name")) == ("foothold.uml-6_1", "none after")


def test_junit_tells_of_every_try() -> None:
    one, two = samples.cell(), samples.cell("uml-6.1")
    failed = samples.verdict(one, Result.FAIL, "it failed", artefacts="/x").as_attempt()
    hung = samples.verdict(one, Result.ERROR, "it hung").as_attempt()
    result = RunResult()
    for event in (
        samples.started(one, two),
        samples.done(one, attempts=(failed, hung)),
        samples.done(two, Result.FAIL, "no", attempts=(failed,)),
    ):
        result(event)
    flaky, rerun = suites(result).iter("testcase")
    assert [each.tag for each in flaky] == ["flakyFailure", "flakyError"]
    assert flaky[0].get("message") == "it failed"
    assert flaky[0].findtext("stackTrace") == "it failed [plan/expectation]\nkept in: /x"
    assert [each.tag for each in rerun] == ["failure", "rerunFailure"]
    assert suites(result).get("failures") == "1"


def test_of_a_cell_that_passed_at_once_little_is_kept() -> None:
    one, two, three = samples.cell(), samples.cell("uml-6.1"), samples.cell("uml-7.2")
    failed = samples.verdict(one, Result.FAIL, "it failed").as_attempt()
    result, short = RunResult(), RunResult()
    for event in (
        samples.started(one, two, three),
        samples.done(one, attempts=(failed,)),
        samples.done(two, Result.FAIL, "no"),
        samples.done(three),
    ):
        result(event)
        short(event)
    for each in (one, two, three):
        short.shorten(each.id)
    assert short.counts == result.counts
    assert short.flaky == result.flaky
    assert short.grouped(Result.FAIL) == result.grouped(Result.FAIL)
    assert short.verdicts[three.id].result is Result.PASS
    assert short.verdicts[three.id].command == ()


def test_the_document_names_flaky_cells(tmp_path: Path) -> None:
    one = samples.cell()
    failed = samples.verdict(one, Result.FAIL, "it failed").as_attempt()
    sink = JsonReporter(str(tmp_path / "x.json"))
    for event in (samples.started(one), samples.done(one, attempts=(failed,))):
        sink(event)
    sink.close()
    whole = json.loads((tmp_path / "x.json").read_text())
    assert whole["flaky"] == [one.id]
    assert whole["provenance"].keys() == {"version", "revision", "code", "python", "kernel"}
    assert whole["cells"][0]["verdict"]["attempts"][0]["findings"] == [
        {"code": "plan/expectation", "text": "it failed"}
    ]


def test_a_guest_that_boots_twice_has_a_place_for_each(tmp_path: Path) -> None:
    sink = RunDirectoryReporter(tmp_path)
    for boot in ("native", "native+1"):
        sink(msgspec.structs.replace(samples.ready("native"), boot=boot))
    sink.close()
    assert sorted(each.name for each in (tmp_path / "guests").iterdir()) == ["native", "native+1"]


# what Jenkins' junit-10.xsd (xunit plugin) allows: attributes, those that must be there, children
SCHEMA = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "file"},
        {"name", "tests", "failures", "errors"},
        {"properties", "testcase"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, {"name", "value"}, set()),
    "testcase": (
        {"name", "time", "classname"}, {"name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    **dict.fromkeys(("skipped", "error", "failure"), ({"type", "message"}, set(), set())),
    **dict.fromkeys(("system-out", "system-err"), (set(), set(), set())),
}  # fmt: skip


@pytest.mark.parametrize("evil", ["", "\x00\x1b[2J\ud800]]>\ufffe</testcase>&\r\n", "\U0001f4a5"])
def test_junit_is_what_jenkins_allows_whatever_a_guest_says(evil: str) -> None:
    one, other = (
        samples.cell(),
        Cell(
            guest="uml-6.1", limits=Limits(), policy="", subject=f"prog{evil}", plan=f"p{evil}.toml"
        ),
    )
    seen = samples.observation(samples.LOW_ALLOCATES, evidence={f"maps{evil}": evil})
    happened = [
        *a_run(),
        samples.started(one, other),
        msgspec.structs.replace(samples.ready(), provenance={f"a{evil}": evil}),
        samples.done(other, Result.FAIL, f"no{evil}", observed=seen, console=evil, remedy=evil),
        samples.done(one, Result.ERROR, console=evil),
    ]
    result = RunResult()
    for event in happened:
        result(event)
    root = ET.fromstring(ET.tostring(suites(result), encoding="utf-8"))
    for parent in root.iter():
        allowed, needed, children = SCHEMA[parent.tag]
        assert needed <= set(parent.attrib) <= allowed
        assert {child.tag for child in parent} <= children
    for case in root.iter("testcase"):
        assert re.fullmatch(r"\d+\.\d{3}", case.get("time", ""))
    for tag in ("skipped", "error", "failure"):  # some readers look here, some there
        for outcome in root.iter(tag):
            assert outcome.get("message")
            assert outcome.get("type")
            assert (outcome.text or "").split()[0] == (outcome.get("message") or "").split()[0]
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(names) == len(set(names)) == 2


def test_junit_of_a_run_that_never_began() -> None:
    assert suites(RunResult()).get("tests") == "0"


def test_the_runs_directory(tmp_path: Path) -> None:
    sink = RunDirectoryReporter(tmp_path)
    first, *rest = a_run()
    sink(first)
    assert json.loads((tmp_path / "run.json").read_text())["finished"] is None
    for event in [*rest, samples.finished()]:
        sink(event)
    sink.close()
    whole = json.loads((tmp_path / "run.json").read_text())
    assert whole["started"]["plan"] == "default"
    assert whole["finished"]["seconds"] == 1.5
    verdict = json.loads((tmp_path / "cells/uml-6.1/none/after/verdict.json").read_text())
    assert verdict["result"] == "fail"
    facts = json.loads((tmp_path / "guests/native/facts.json").read_text())
    assert facts["release"] == "6.12.113"
    command = json.loads((tmp_path / "guests/qemu-x86_64/command.json").read_text())
    assert command == {"argv": ["qemu", "-x"], "shell": "qemu -x"}
    assert len((tmp_path / "events.jsonl").read_bytes().splitlines()) == len(a_run()) + 1


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_and_not_replaced() -> None:
    write_whole(Path("/dev/null"), b"gone")
    assert not Path("/dev/null").is_file()


@given(st.text(max_size=300))
def test_clean_text_moves_no_cursor(text: str) -> None:
    shown = escape_line(text, 100)
    assert all(unicodedata.category(char)[0] != "C" for char in shown)
    assert "\n" not in shown


def test_clean_text_says_what_was_there() -> None:
    assert escape_line("a\x1b[2Jb\r\u202e\x9b") == "a\\x1b[2Jb\\x0d\\u202e\\x9b"
    assert escape_line("größer → ok") == "größer → ok"
    assert len(escape_line("x" * 10_000, 100)) == 99
    assert escape_lines("a\nb\nc\x07", most=2) == ["b", "c\\x07"]


@given(st.text())
def test_any_text_fits_into_xml(text: str) -> None:
    element = ET.Element("a")
    element.text = escape_xml(text)
    again = ET.fromstring(ET.tostring(element, encoding="utf-8"))
    assert (again.text or "").replace("\r\n", "\n").replace("\r", "\n") == (
        escape_xml(text).replace("\r\n", "\n").replace("\r", "\n")
    )
