"""What must be alike for two verdicts on a cell to be comparable, as hashes.

A *inputs_hash* is all that is known before a guest has booted: our own code, the host's kernel, the
images, the subject, what the plan declares. A *guest_hash* is what a guest then says of itself. Two
verdicts that differ in one inputs_hash and one guest_hash differ for no reason that we know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.events import RunStarted
from foothold_lab.harness.model.verdict import Observation, Result, Verdict

# of facts: what is drawn by lot at every start (the host's ASLR decides even how much of its memory
# a UML kernel can use), or moves while a machine works
RANDOM_FACTS = ("first", "aslr_bits", "memory", "commit_limit", "committed")
HINTS = ("hint_high", "hint_low", "hint_beyond")
# of provenance: what is new in every boot
_PER_BOOT = ("container",)


def inputs_hash(started: RunStarted, cell: Cell, images: Mapping[str, str]) -> str:
    """Hash what is known of a cell before its guest has booted."""
    return _digest(
        {
            "code": started.provenance.code,
            "python": started.provenance.python,
            "host": started.provenance.kernel,
            "traced": started.trace and cell.trace,
            "deadline": cell.deadline,
            "subject": started.subjects.get(cell.subject, ""),
            "workload": cell.workload,
            "expected": cell.expected,
            "images": images,
        }
    )


def guest_hash(facts: Mapping[str, object], provenance: Mapping[str, str]) -> str:
    """Hash what a guest is like, but for what is different at every boot."""
    return _digest({"facts": stable_facts(facts), "provenance": stable_provenance(provenance)})


def stable_provenance(provenance: Mapping[str, str]) -> dict[str, str]:
    """Return what of a guest's provenance is the same at every boot."""
    return {name: value for name, value in provenance.items() if name not in _PER_BOOT}


def stable_facts(facts: Mapping[str, object]) -> dict[str, object]:
    """Return those facts that are the same at every boot of one kernel on one machine.

    Of a hint only what became of it is left, since where it is moved to may be by lot.
    """
    kept = {name: value for name, value in facts.items() if name not in RANDOM_FACTS}
    return kept | {name: _fate(kept[name]) for name in HINTS if name in kept}


def outcome_key(verdict: Verdict) -> str | None:
    """Say in a word or three what a cell came to; None if the cell could not be asked."""
    if verdict.result is Result.UNSUPPORTED:
        return None
    seen = verdict.observed
    return " ".join([verdict.result, *(_words(seen) if seen else ())])


def _words(seen: Observation) -> list[str]:
    return [str(each) for each in (seen.path, seen.outcome) if each]


def _fate(hint: object) -> object:
    if not isinstance(hint, Mapping):
        return hint
    if hint.get("errno"):
        return f"refused, errno {hint['errno']}"
    return "granted" if hint.get("got") == hint.get("asked") else "moved"


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:16]
