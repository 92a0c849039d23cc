"""JUnit XML: a test suite for each guest, a test case for each cell.

There is no standard. The output conforms to the schema of Jenkins (junit-10.xsd of its xunit
plugin). Jenkins shows `message`. GitLab and the readers of GitHub (dorny/test-reporter,
mikepenz/action-junit-report) show the text, the latter also the file of the suite.
"""

from __future__ import annotations

import datetime
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.escape import escape_shell, escape_xml
from foothold_lab.harness.model.events import AnyEvent
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Attempt, Result, Verdict
from foothold_lab.harness.reporters.atomic_write import write_whole
from foothold_lab.harness.reporters.result import RunResult

_TAGS = {
    Result.FAIL: "failure",
    Result.ERROR: "error",
    Result.UNSUPPORTED: "skipped",
}


class JUnitReporter:
    """Writes the file at the end of the run, also of an interrupted one."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._result = RunResult()

    def __call__(self, event: AnyEvent) -> None:
        """Process an event."""
        self._result(event)

    def close(self) -> None:
        """Write the file."""
        root = suites(self._result)
        ET.indent(root)
        write_whole(self._path, ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def suites(result: RunResult) -> ET.Element:
    """Return the `testsuites` element of a run. A cell that did not run is an error."""
    root = ET.Element("testsuites", name="foothold")
    stamp = _stamp(result)
    for guest in result.guests:
        suite = ET.SubElement(root, "testsuite", name=escape_xml(guest), timestamp=stamp)
        plans = {cell.plan for cell in result.cells_of(guest)} - {""}
        if files := {plan for plan in plans if Path(plan).is_file()}:
            suite.set("file", escape_xml(min(files)))
        if ready := result.guests[guest].ready:
            properties = ET.SubElement(suite, "properties")
            for name, value in sorted(ready.provenance.items()):
                ET.SubElement(
                    properties, "property", name=escape_xml(name), value=escape_xml(value)
                )
        for cell in result.cells_of(guest):
            suite.append(_case(cell, result.verdicts.get(cell.id)))
        _count(suite, [suite])
    _count(root, list(root))
    del root.attrib["skipped"]  # the schema allows it only in a suite
    return root


def _case(cell: Cell, verdict: Verdict | None) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=escape_xml(
            f"foothold.{cell.guest.replace('.', '_')}"
        ),  # a dot would start a new level
        name=escape_xml(f"{cell.limits} {cell.variant}"),
        time=f"{verdict.seconds if verdict else 0:.3f}",
    )
    if verdict is None:
        _outcome(
            case, "error", Code.INFRASTRUCTURE_STOPPED, ["not run: the run ended before this cell"]
        )
        return case
    if tag := _TAGS.get(verdict.result):
        _outcome(case, tag, _type(verdict), _details(verdict))
    case.extend(_tries(verdict))
    if verdict.observed:
        evidence = "\n".join(f"{who}: {said}" for who, said in verdict.observed.evidence.items())
        ET.SubElement(case, "system-out").text = escape_xml(evidence)
    if verdict.console:
        ET.SubElement(case, "system-err").text = escape_xml(verdict.console)
    return case


def _tries(verdict: Verdict) -> Iterator[ET.Element]:
    """Yield earlier tries in the format of Maven Surefire, which Jenkins and others show as flaky."""
    kind = "flaky" if verdict.result is Result.PASS else "rerun"
    for attempt in verdict.attempts:
        what = "Failure" if attempt.result is Result.FAIL else "Error"
        message = attempt.reason or attempt.result.value
        element = ET.Element(f"{kind}{what}", message=escape_xml(message))
        element.set("type", _type(attempt))
        lines = [*map(str, attempt.findings), f"kept in: {attempt.artefacts}"]
        ET.SubElement(element, "stackTrace").text = escape_xml("\n".join(lines))
        yield element


def _type(one: Verdict | Attempt) -> str:
    """Return the code of the first finding. Readers group by it."""
    return one.findings[0].code if one.findings else one.result


def _outcome(case: ET.Element, tag: str, kind: str, lines: list[str]) -> None:
    """Add an outcome. Some readers show its first line (`message`), others its text."""
    detail = ET.SubElement(case, tag, message=escape_xml(lines[0]), type=kind)
    detail.text = escape_xml("\n".join(lines))


def _details(verdict: Verdict) -> list[str]:
    lines = [each.text for each in verdict.findings] or [verdict.result.value]
    if verdict.result is Result.UNSUPPORTED and verdict.remedy:
        lines[0] = f"{lines[0]}: {verdict.remedy}"
    elif verdict.remedy:
        lines.append(f"remedy: {verdict.remedy}")
    if verdict.findings:
        lines.append(f"findings: {', '.join(each.code for each in verdict.findings)}")
    if verdict.last_lines:
        lines += ["last output of the subject:", *(f"| {line}" for line in verdict.last_lines)]
    if verdict.command:
        lines.append(f"again: {escape_shell(verdict.command)}")
    if verdict.artefacts:
        lines.append(f"kept in: {verdict.artefacts}")
    return lines


def _count(element: ET.Element, suites: list[ET.Element]) -> None:
    """Set the totals, which readers show without reading the cases."""
    cases = [case for suite in suites for case in suite.iter("testcase")]
    element.set("tests", str(len(cases)))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(1 for case in cases if case.find(tag) is not None)))
    element.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")


def _stamp(result: RunResult) -> str:
    at = result.started.at if result.started else 0.0
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
