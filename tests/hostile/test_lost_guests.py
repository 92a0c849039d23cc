"""A subject that cuts its guest off, forges what its kernel says, or leaves something behind.

All of it only in guests that are thrown away.
"""

from __future__ import annotations

import pytest

from foothold_lab.harness.evidence.judge import AS_USER, TEXT_BY_ROOT
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Blame, Result
from tests.hostile.conftest import Attack, Attackers

UML = ("uml-6.1", "uml-6.12", "uml-7.2", "uml-7.2-ptrace")
GUESTS = (*UML, "qemu-x86_64")
DAEMON = "setsid sleep 987 </dev/null >/dev/null 2>&1 &"
SERVER = "$(ps | grep '[d]ropbear' | awk '{print $1}')"
# nothing of the first cell may be seen by the second
VICTIM = "! ps | grep '[s]leep 987' && [ $(wc -l < /proc/sysvipc/shm) = 1 ]"


def run_with_victim(guest: str, attackers: Attackers, script: str, deadline: float) -> str:
    """Return how the attack ended, in an error for which the guest is blamed; the next passes."""
    attack = Attack(attackers.script("a-attack", script), deadline=deadline)
    victim = Attack(attackers.script("b-victim", VICTIM))
    first, second = attackers.run(guest, attack, victim).verdicts.values()
    assert (first.result, first.blame) == (Result.ERROR, Blame.GUEST), str(first)
    assert second.result is Result.PASS, str(second)
    [finding] = first.findings
    return f"{finding.code}: {finding.text}"


@pytest.mark.parametrize(
    "guest", ["uml-6.1", "uml-7.2", pytest.param("qemu-x86_64", marks=pytest.mark.weekly)]
)
@pytest.mark.parametrize("stopped", ["$PPID", SERVER], ids=["agent", "server"])
def test_a_stopped_connection_does_not_spoil_the_next_cell(
    guest: str, stopped: str, attackers: Attackers
) -> None:
    deadline = 0.5 if guest == "qemu-x86_64" else 3  # seconds, of a fast guest
    script = f"{DAEMON} kill -STOP {stopped}; sleep 1000"
    said = run_with_victim(guest, attackers, script, deadline)
    assert said.startswith(f"{Code.GUEST_KILLED}: the subject was killed: it was still running")
    assert "the subject has stopped it" in said


def test_a_container_with_a_stopped_agent_is_replaced(attackers: Attackers) -> None:
    """Both cells are of one program, which has a container of its own."""
    script = f"! ps | grep '[s]leep 987' || exit 9\n{DAEMON} kill -STOP $PPID; sleep 1000"
    program = attackers.script("stop", script)
    cells = [Attack(program, name=name, deadline=3, timeout=1) for name in ("a", "b")]
    for verdict in attackers.run("docker", *cells).verdicts.values():
        assert [each.code for each in verdict.findings] == [Code.GUEST_KILLED], str(verdict)


def test_cannot_reach_the_first_process_of_a_container(attackers: Attackers) -> None:
    script = "head -c 1 /proc/1/mem || readlink /proc/1/fd/1 || true > /proc/1/fd/1 || exit 7"
    attack = Attack(attackers.script("reach", script), expect="status:7")
    [verdict] = attackers.run("docker", attack).verdicts.values()
    assert verdict.result is Result.PASS, str(verdict)


@pytest.mark.parametrize("guest", GUESTS)
def test_a_killed_agent_is_named(guest: str, attackers: Attackers) -> None:
    said = run_with_victim(guest, attackers, f"{DAEMON} kill -9 $PPID; sleep 1000", 60)
    assert said.startswith(f"{Code.GUEST_KILLED}: the agent was killed under the subject")


@pytest.mark.parametrize("guest", [*GUESTS, "docker"])
def test_a_daemon_ends_with_its_cell(guest: str, attackers: Attackers) -> None:
    """It has a session of its own. All cells are of one program, and share what one leaves."""
    script = f"! ps | grep '[s]leep 987' || exit 9\n{DAEMON} exit 0"
    program = attackers.script("daemon", script)
    users = ("", "", "nobody", "nobody") if guest in GUESTS else ("", "")
    cells = [Attack(program, name=f"{n}", user=user) for n, user in enumerate(users)]
    verdicts = attackers.run(guest, *cells).verdicts.values()
    assert [each.result for each in verdicts] == [Result.PASS] * len(users)
    for verdict in verdicts:
        assert verdict.observed
        assert verdict.observed.evidence["left behind"].startswith("1 process"), str(verdict)


@pytest.mark.parametrize("guest", UML)
def test_a_disturbed_line_is_named(guest: str, attackers: Attackers) -> None:
    """Root of a UML guest can open its serial line; a port of virtio opens only once."""
    said = run_with_victim(guest, attackers, "head -c 3000 /dev/zero >/dev/ttyS0; sleep 1000", 5)
    assert said.startswith(f"{Code.GUEST_KILLED}: ")
    assert "line" in said  # SSH finds it at once, or waits for the rest of a packet


FORGED = {
    "Kernel panic - not syncing: forged": Code.GUEST_PANIC_FORGED,
    "BUG: unable to handle f": Code.GUEST_PANIC,
}
PANICS = ("uml-6.1", "uml-7.2", "qemu-x86_64")


@pytest.mark.parametrize("where", ["/dev/kmsg", "/dev/console"])
@pytest.mark.parametrize("text", FORGED)
@pytest.mark.parametrize("guest", PANICS)
def test_a_forged_panic_is_an_error_of_the_guest(
    guest: str, text: str, where: str, attackers: Attackers
) -> None:
    """It may look like a fault of the kernel, and never passes as anything else."""
    said = run_with_victim(guest, attackers, f"echo '<0>{text}' > {where}; sleep 1000", 60)
    assert said.startswith(FORGED[text])


FORGE = "echo '<0>Kernel panic - not syncing: forged' > /dev/kmsg;"
ATTACKS = {
    "goes on": f"{FORGE} sleep 1000",
    "powers off": f"{FORGE} sleep 0.2; poweroff -f; sleep 1000",
    "panics": f"{FORGE} echo c > /proc/sysrq-trigger; sleep 1000",
}


@pytest.mark.parametrize("guest", PANICS)
def test_says_what_of_an_expected_panic_can_be_forged(guest: str, attackers: Attackers) -> None:
    attacks = [
        Attack(attackers.script(name.replace(" ", "-"), script), expect="panics:forged$")
        for name, script in ATTACKS.items()
    ]
    *forged, panicked = attackers.run(guest, *attacks).verdicts.values()
    for verdict in forged:
        assert verdict.result is Result.FAIL, str(verdict)
        [finding] = verdict.findings
        assert finding.code is Code.GUEST_PANIC_FORGED
    assert f"{TEXT_BY_ROOT}: {AS_USER}" in panicked.notes, str(panicked)
    assert "the guest died: kernel panic: sysrq triggered crash" in panicked.notes


@pytest.mark.parametrize("guest", GUESTS)
def test_another_user_reaches_neither_line_nor_console_nor_settings(
    guest: str, attackers: Attackers
) -> None:
    script = """
    for file in /dev/kmsg /dev/console /dev/ttyS0 /dev/vport0p1 /proc/sys/vm/swappiness; do
        (echo x > $file) 2>/dev/null && echo "wrote $file" && exit 1
    done
    kill -STOP $PPID 2>/dev/null && exit 2
    kill -9 $PPID 2>/dev/null && exit 3
    exit 0
    """
    attack = Attack(attackers.script("write", script), user="nobody")
    [verdict] = attackers.run(guest, attack).verdicts.values()
    assert verdict.result is Result.PASS, str(verdict)


@pytest.mark.parametrize("guest", GUESTS)
def test_memory_of_system_v_ends_with_the_cell(guest: str, attackers: Attackers) -> None:
    program = attackers.compile("leave_memory")
    victim = Attack(attackers.script("b-victim", VICTIM))
    first, second = attackers.run(guest, Attack(program), victim).verdicts.values()
    assert (first.result, second.result) == (Result.PASS, Result.PASS), f"{first}\n{second}"
    assert not [note for note in second.notes if "fresh boot" in note]


@pytest.mark.parametrize("guest", GUESTS)
def test_files_that_cells_share_are_read_only(guest: str, attackers: Attackers) -> None:
    script = """
    for file in /etc/passwd /usr/bin/strace /bin/busybox "$0"; do
        (echo changed >> "$file") 2>/dev/null && echo "wrote $file" && exit 1
    done
    exit 0
    """
    [verdict] = attackers.run(guest, Attack(attackers.script("write", script))).verdicts.values()
    assert verdict.result is Result.PASS, str(verdict)
