"""Hashes of what must be equal for two verdicts on a cell to be compared.

The *inputs hash* covers what is known before a guest boots: the code of Foothold, the host's kernel,
the images, the subject, the expectation. The *guest hash* covers what a guest then reports. If two
verdicts with the same hashes differ, no known input explains it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.events import RunStarted
from foothold_lab.harness.model.verdict import Observation, Result, Verdict

# facts that are random at each start, or change while a machine runs. The host's ASLR even decides
# how much of its memory a UML kernel can use.
RANDOM_FACTS = ("first", "aslr_bits", "memory", "commit_limit", "committed")
HINTS = ("hint_high", "hint_low", "hint_beyond")
# provenance that changes at each boot
_PER_BOOT = ("container",)


def inputs_hash(started: RunStarted, cell: Cell, images: Mapping[str, str]) -> str:
    """Return the hash of what is known of a cell before its guest boots."""
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
    """Return the hash of a guest, without what changes at each boot."""
    return _digest({"facts": stable_facts(facts), "provenance": stable_provenance(provenance)})


def stable_provenance(provenance: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the provenance that is the same at every boot."""
    return {name: value for name, value in provenance.items() if name not in _PER_BOOT}


def stable_facts(facts: Mapping[str, object]) -> dict[str, object]:
    """Return the facts that are the same at every boot of a kernel on a machine.

    Of a hint only the kind of answer remains, because the address of a moved one can be random.
    """
    kept = {name: value for name, value in facts.items() if name not in RANDOM_FACTS}
    return kept | {name: _fate(kept[name]) for name in HINTS if name in kept}


def outcome_key(verdict: Verdict) -> str | None:
    """Return the result of a cell in one to three words; None if it is unsupported."""
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
