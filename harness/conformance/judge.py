"""Compares the answers of probes with the known differences of a kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from foothold_lab.harness.conformance.differences import KnownDifference
from foothold_lab.harness.conformance.report import ProbeAnswer, ProbeReport
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.probes import COUNTS, evidence_of
from foothold_lab.harness.model.verdict import Observation


def judge_probes(
    observation: Observation,
    report: ProbeReport,
    known: Iterable[KnownDifference],
) -> Observation:
    """Return the observation with a finding for each probe that is not as the known differences say.

    `known` are those of the kernel; none, if no difference is allowed. The evidence gets a line for
    each probe that differs.
    """
    by_name = {each.probe: each for each in known}
    judged = {each.probe: _judge(each, by_name.get(each.probe)) for each in report.answers}
    findings = [finding for finding, _ in judged.values() if finding]
    lines = {evidence_of(probe): line for probe, (_, line) in judged.items() if line}
    gaps = tuple(_gaps(report))
    unfinished = by_name.get(report.unanswered)
    # a probe that is known to kill its guest may instead hang while the guest lives on
    if unfinished and unfinished.effect == "guest-killed":
        lines[evidence_of(unfinished.probe)] = f"it did not end [{Code.CONFORMANCE_KNOWN}]"
        gaps = ()
    counts = _counts(report.answers)
    return replace(
        observation,
        message=counts if observation.message else "",
        evidence={**observation.evidence, COUNTS: counts, **lines},
        contradictions=(*observation.contradictions, *findings, *gaps),
    )


def judge_killed_guest(
    report: ProbeReport, asked: Sequence[str], cause: str, known: Iterable[KnownDifference]
) -> tuple[Finding | None, Mapping[str, str]]:
    """Judge the end of a guest under a probe: the finding, None if that is known; and the evidence.

    `asked` are the probes and groups that the program was to run: the guest may die before it has
    reported which of them ran.
    """
    probe = report.unanswered or ", ".join(asked)
    for each in known:
        if each.probe == probe and each.effect == "guest-killed":
            return None, {evidence_of(probe): f"{cause} [{Code.CONFORMANCE_KNOWN}]"}
    finding = Finding(Code.CONFORMANCE_GUEST_KILLED, f"{probe}: {cause}")
    return finding, {evidence_of(probe): str(finding)}


def judge_kernel_faults(
    observation: Observation,
    report: ProbeReport,
    faults: Sequence[Finding],
    known: Iterable[KnownDifference],
) -> Observation:
    """Return the observation with what the kernel reported of its own faults while the probes ran.

    It is evidence only if one of the probes is known to harm its guest.
    """
    asked = {*(answer.probe for answer in report.answers), report.unanswered}
    harmful = [each.probe for each in known if each.probe in asked and each.effect != "differs"]
    if not harmful:
        return replace(observation, contradictions=(*observation.contradictions, *faults))
    line = f"{faults[0].text.splitlines()[0]} [{Code.CONFORMANCE_KNOWN}]"
    return replace(observation, evidence={**observation.evidence, evidence_of(harmful[0]): line})


def _judge(answer: ProbeAnswer, known: KnownDifference | None) -> tuple[Finding | None, str]:
    """Return the finding about a probe, and its line of evidence; empty if it does not differ."""
    if answer.result == "differs":
        if known:
            return None, f"{answer.measured} [{Code.CONFORMANCE_KNOWN}]"
        text = f"{answer.probe}: {answer.measured}. Demanded: {answer.demand} ({answer.source})"
        return Finding(Code.CONFORMANCE_DIFFERS, text), answer.measured
    if answer.result == "conforms" and known and not known.sometimes:
        text = f"{answer.probe}: it conforms ({answer.measured}). Known: {known.happens}"
        return Finding(Code.CONFORMANCE_REPAIRED, text), ""
    return None, ""


def _counts(answers: Sequence[ProbeAnswer]) -> str:
    counts: Counter[str] = Counter(answer.result for answer in answers)
    words = ("conforms", "conform"), ("differs", "differ"), ("skipped", "do not apply")
    told = ", ".join(f"{counts[result]} {word}" for result, word in words)
    return f"{len(answers)} were asked: {told}"


def _gaps(report: ProbeReport) -> Iterator[Finding]:
    code = Code.CONFORMANCE_INCOMPLETE
    if report.unanswered:
        yield Finding(code, f"The program ended while the probe {report.unanswered} ran.")
    elif not report.answers:
        yield Finding(code, "The program answered no probe.")
    if report.bad_lines:
        yield Finding(code, f"{report.bad_lines} lines of its output are not of a report.")
