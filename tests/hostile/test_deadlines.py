"""Subjects that hold without reading, map without measure, or kill everything: deadlines hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result
from tests.hostile.conftest import Attack, Attackers

GUESTS = ("native", "uml-6.1", "uml-6.12", "uml-7.2", "uml-7.2-ptrace", "qemu-x86_64")
HOLD = '{"event": "hold", "at": "reserved"}'
TIMEOUT = {"qemu-x86_64": 1}  # seconds, of a fast guest; 3 in others
SCALE = {"uml-6.1": 2, "uml-7.2": 2, "qemu-x86_64": 15}  # by which a guest is slower


@pytest.mark.parametrize("guest", GUESTS)
def test_holds_without_reading_end_at_the_timeout(guest: str, attackers: Attackers) -> None:
    flood = attackers.script("flood", f"yes '{HOLD}' | head -n 90000; sleep 1000")
    timeout = TIMEOUT.get(guest, 3)
    [verdict] = attackers.run(guest, Attack(flood, timeout=timeout)).verdicts.values()
    assert verdict.observed, str(verdict)
    assert "cut checkpoints" in verdict.observed.evidence
    due = timeout * SCALE.get(guest, 1)
    assert due <= verdict.seconds < due + 20


@pytest.mark.parametrize("guest", ["native", "uml-7.2"])
def test_the_deadline_of_the_user_holds_for_a_longer_timeout(
    guest: str, attackers: Attackers
) -> None:
    """It was raised to three times the timeout."""
    busy = attackers.script("busy", "while :; do :; done")
    attacks = [Attack(busy, deadline=1, timeout=timeout, name=f"{timeout}") for timeout in (2, 60)]
    for verdict in attackers.run(guest, *attacks).verdicts.values():
        assert [each.code for each in verdict.findings] == [Code.SUBJECT_DEADLINE], str(verdict)
        assert verdict.seconds < 10


@pytest.mark.parametrize("guest", GUESTS)
def test_a_subject_that_holds_and_exits_keeps_its_verdict(guest: str, attackers: Attackers) -> None:
    hold = attackers.script("hold", f"echo '{HOLD}'; exit 7")
    attacks = [Attack(hold, expect="status:7", name=f"hold{n}") for n in range(20)]
    verdicts = attackers.run(guest, *attacks).verdicts.values()
    assert [each.result for each in verdicts] == [Result.PASS] * 20


@pytest.mark.parametrize("guest", ["native", "uml-7.2"])
def test_maps_are_cut_and_the_evidence_is_kept(guest: str, attackers: Attackers) -> None:
    many = Attack(attackers.compile("many_maps"), timeout=60)
    [verdict] = attackers.run(guest, many).verdicts.values()
    assert verdict.observed, str(verdict)
    assert (verdict.result, verdict.observed.contradictions) == (Result.PASS, ())
    assert verdict.observed.evidence["cut maps-end"] == "there was more than is kept"
    maps = (Path(verdict.artefacts) / "maps-end").read_bytes()
    assert 7 << 20 < len(maps) <= 8 << 20
    assert maps.endswith(b"\n")


@pytest.mark.parametrize("guest", ["uml-6.1", "uml-7.2", "qemu-x86_64"])
def test_a_subject_that_kills_everything_is_named_at_once(guest: str, attackers: Attackers) -> None:
    """Only in guests that are thrown away."""
    killer = Attack(attackers.script("killer", "kill -9 -1; sleep 1000"))
    after = Attack(attackers.script("after", "exit 0"))
    done = attackers.run(guest, killer, after)
    first, second = done.verdicts.values()
    assert first.result is Result.ERROR
    assert [each.code for each in first.findings] == [Code.GUEST_KILLED], str(first)
    assert "killed the SSH server" in first.findings[0].text
    assert first.seconds < 5
    assert second.result is Result.PASS


@pytest.mark.parametrize("guest", ["uml-6.1", "uml-7.2", "qemu-x86_64"])
def test_the_environment_of_the_user_does_not_reach_the_guest(
    guest: str, attackers: Attackers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "TMP", "TEMP"):
        monkeypatch.setenv(name, "/no/such/directory")
    [verdict] = attackers.run(guest, Attack(attackers.script("true", "exit 0"))).verdicts.values()
    assert verdict.result is Result.PASS, str(verdict)
