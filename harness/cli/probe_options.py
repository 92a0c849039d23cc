"""The option --probe: single probes of the plan `conformance`, asked without known differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.model.errors import UsageError, did_you_mean
from foothold_lab.harness.model.verdict import Conformance

if TYPE_CHECKING:
    from foothold_lab.harness.cli.plan_options import Overrides
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.subjects.subject import Subject

probe_option = click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="GROUP/PROBE",
    help="Ask the kernel only this question of the plan conformance; repeatable. A known difference "
    "fails too.",
)


def select_probes(overrides: Overrides, probes: Sequence[str]) -> Overrides:
    """Return the options that select the subjects of these probes; the same without probes.

    Raises UsageError for an unknown probe, and for --subject.
    """
    from foothold_lab.harness.subjects.probes import subject_of_probe
    from foothold_lab.images.probes import probe_names

    if not probes:
        return overrides
    if overrides.given["subjects"]:
        raise UsageError("--probe names its subject itself", "remove --subject")
    known = probe_names()
    for probe in probes:
        if probe not in known:
            raise UsageError(
                f"unknown probe {probe!r}{did_you_mean(probe, known)}",
                "docs/uml-differences.md lists all probes",
            )
    return overrides.with_values(
        subjects=tuple(dict.fromkeys(map(subject_of_probe, probes))),
        expect=overrides.given["expect"] or Conformance.STRICT.value,
        trace=False,
    )


def asked_for(cells: Iterable[Cell], probes: Sequence[str]) -> tuple[Cell, ...]:
    """Return the cells with command lines that ask for the probes, not for their subjects."""
    return tuple(
        replace(cell, asked=_options(chosen))
        if (chosen := _of_subject(cell.subject, probes))
        else cell
        for cell in cells
    )


def with_probes(subjects: Mapping[str, Subject], probes: Sequence[str]) -> dict[str, Subject]:
    """Return the subjects; those of the probes run these alone."""
    return {
        name: replace(each, argv=(each.argv[0], *chosen))
        if (chosen := _of_subject(name, probes))
        else each
        for name, each in subjects.items()
    }


def _of_subject(name: str, probes: Sequence[str]) -> tuple[str, ...]:
    from foothold_lab.harness.subjects.probes import subject_of_probe

    return tuple(probe for probe in probes if subject_of_probe(probe) == name)


def _options(probes: Sequence[str]) -> tuple[str, ...]:
    """Return the options that ask a cell for its probes: they imply its subject and expectation."""
    return tuple(word for probe in probes for word in ("--probe", probe))
