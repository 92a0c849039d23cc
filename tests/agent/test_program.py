"""The whole agent, built under AddressSanitizer and UndefinedBehaviorSanitizer, on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import threading
from pathlib import Path
from typing import IO

import pytest

from foothold_lab.harness.model.facts import parse_facts
from foothold_lab.harness.model.failures import CALLS
from foothold_lab.harness.transport.frames import KEY_SIZE, FrameKind, Frames, frame
from tests.agent.compiler import (
    AGENT,
    AGENT_ENVIRONMENT,
    HERE,
    build_agent,
    run,
)

pytestmark = pytest.mark.agent

EXIT_AGENT = 120
KEY = bytes(range(KEY_SIZE))


def converse(argv: list[str], *commands: bytes) -> list[tuple[FrameKind, bytes]]:
    """Run the agent, send it commands, and return its frames. Standard input stays open."""
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=AGENT_ENVIRONMENT,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout and process.stderr
        # in a thread of its own: the agent may wait for its output to be read meanwhile
        sent = frame(FrameKind.KEY, KEY) + b"".join(commands)
        writer = threading.Thread(target=_write, args=(process.stdin, sent))
        writer.start()
        answer, complaint = process.stdout.read(), process.stderr.read()
        writer.join()
        assert (process.wait(60), complaint) == (0, b"")
    return list(Frames(KEY).take(answer))


def _write(to: IO[bytes], data: bytes) -> None:
    to.write(data)
    to.flush()


def payloads(frames: list[tuple[FrameKind, bytes]], kind: FrameKind) -> bytes:
    return b"".join(payload for each, payload in frames if each is kind)


def test_it_passes_input_and_output(agent: str) -> None:
    text = bytes(range(256)) * 4000  # more than all pipes between hold
    commands = [
        frame(FrameKind.INPUT, text[at : at + 50_000]) for at in range(0, len(text), 50_000)
    ]
    frames = converse([agent, "run", "--", "/bin/cat"], *commands, frame(FrameKind.CLOSE_INPUT))
    assert frames[0][0] is FrameKind.STARTED
    assert payloads(frames, FrameKind.STDOUT) == text
    kind, ending = frames[-1]
    assert kind is FrameKind.ENDED
    assert json.loads(ending)["status"] == 0


def test_it_measures_the_address_space_of_this_machine(agent: str) -> None:
    done = run([agent, "facts"], AGENT_ENVIRONMENT)
    facts = parse_facts(done.stdout)
    assert (facts.release, facts.machine) == (os.uname().release, os.uname().machine)
    assert facts.page_size == os.sysconf("SC_PAGESIZE")
    assert facts.pointer_size == 8
    settings = Path("/proc/sys/vm/max_map_count"), Path("/proc/sys/vm/overcommit_memory")
    assert (facts.max_map_count, facts.overcommit) == tuple(
        int(each.read_text()) for each in settings
    )
    assert not facts.hint_beyond.honoured


def test_an_idle_container_ends_with_its_standard_input(agent: str) -> None:
    with subprocess.Popen([agent, "idle"], stdin=subprocess.PIPE, env=AGENT_ENVIRONMENT) as process:
        assert process.stdin
        process.stdin.write(b"ignored")
        process.stdin.flush()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nothing"], "usage: agent init"),
        (["session", "token"], "usage: agent session TOKEN SECONDS"),
        (["session", "token", "0"], "usage: agent session TOKEN SECONDS"),
        (["session", "token", "86401"], "usage: agent session TOKEN SECONDS"),
        (["request"], "usage: agent request TOKEN"),
        (["keep", "--owner", "x", "--", "/bin/true"], "cannot use the option or value x"),
        (["keep", "--owner", "0"], "cannot find -- PROGRAM behind the options"),
        (["run", "--cpu", "0"], "cannot find -- PROGRAM behind the options"),
    ],
)
def test_it_says_how_a_role_is_used(agent: str, words: list[str], complaint: str) -> None:
    done = run([agent, *words], AGENT_ENVIRONMENT)
    assert done.returncode == EXIT_AGENT
    assert complaint in done.stderr.decode()


def test_an_alarm_of_a_slow_tracer_ends_nothing(agent: str, tmp_path: Path) -> None:
    """An alarm comes on a busy machine: strace sets one of 3 s. The subject does not see that it was held."""
    tracer = tmp_path / "strace"
    skip_options = 'while [ "$1" != -- ]; do shift; done; shift'
    tracer.write_text(f'#!/bin/sh\n{skip_options}\nkill -ALRM $$\nexec "$@"\n')
    tracer.chmod(0o755)
    subject = ["/bin/grep", "-E", "^(SigBlk|SigIgn|SigPnd|ShdPnd)", "/proc/self/status"]
    frames = converse([agent, "run", "--trace", str(tracer), "--", *subject])
    masks = payloads(frames, FrameKind.STDOUT).decode().split()[1::2]
    assert len(masks) == 4
    alarm = 1 << (signal.SIGALRM - 1)
    assert not any(int(mask, 16) & alarm for mask in masks)
    kind, ending = frames[-1]
    assert kind is FrameKind.ENDED
    assert json.loads(ending)["status"] == 0


def test_its_first_frame_precedes_the_start_of_the_subject(agent: str) -> None:
    argv = [agent, "run", "--", "/no/such/program"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=AGENT_ENVIRONMENT
    ) as process:
        answer, _ = process.communicate(frame(FrameKind.KEY, KEY))
    assert answer.startswith(frame(FrameKind.READY))


def test_it_resizes_a_terminal_and_reads_maps(agent: str) -> None:
    argv = [agent, "run", "--terminal", "24x80", "--", "/bin/sh", "-c", "read a; stty size"]
    commands = (
        frame(FrameKind.RESIZE, struct.pack("<HH", 50, 132)),
        frame(FrameKind.RESIZE, b"short"),
        frame(FrameKind.MAPS),
        frame(FrameKind.INPUT, b"\n"),
    )
    frames = converse(argv, *commands)
    assert b"50 132" in payloads(frames, FrameKind.STDOUT)
    assert FrameKind.MAPS in dict(frames)


def test_it_kills_the_subject_when_the_harness_is_gone(agent: str) -> None:
    with subprocess.Popen(
        [agent, "run", "--", "/bin/sleep", "100"], stdin=subprocess.PIPE, env=AGENT_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin
        process.stdin.write(frame(FrameKind.KEY, KEY))
        process.stdin.close()
        assert process.wait(60) == EXIT_AGENT


@pytest.mark.parametrize("sent", [b"", b"n\x20\0\0\0short", frame(FrameKind.MAPS) * 100])
def test_it_starts_nothing_without_a_key(agent: str, sent: bytes) -> None:
    argv = [agent, "run", "--", "/bin/sh", "-c", "echo started >&2"]
    done = subprocess.run(
        argv, input=sent, env=AGENT_ENVIRONMENT, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (EXIT_AGENT, b"")
    assert done.stderr.startswith(b"agent: cannot read the key of the frames"), done.stderr


def test_a_frame_that_is_too_long_ends_it(agent: str) -> None:
    with subprocess.Popen(
        [agent, "run", "--", "/bin/sleep", "100"], stdin=subprocess.PIPE, env=AGENT_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin
        process.stdin.write(frame(FrameKind.KEY, KEY) + b"i\xff\xff\xff\xff")
        process.stdin.flush()
        assert process.wait(60) == EXIT_AGENT


def test_it_traces_and_brings_about_faults(agent: str) -> None:
    argv = [agent, "run", "--text", "--trace", "self", "--exit-maps", "--ceiling", "0x4000000000",
            "--occupy", "0x20000000-0x20001000", "--ignore-hints", "0x10000-0x20000",
            "--fail", "munmap:1000/0:22", "--", "/bin/sh", "-c", "echo hello; /bin/true"]  # fmt: skip
    done = run(argv, AGENT_ENVIRONMENT)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "hello"
    assert "=== maps at end" in lines
    assert any(line.startswith("20000000-20001000 ---p") for line in lines)
    assert sum("execve(" in line for line in lines) == 2
    assert json.loads(lines[-1].removeprefix("=== ended "))["status"] == 0


def test_a_program_that_is_not_there_is_reported(agent: str) -> None:
    frames = converse([agent, "run", "--", "/no/such/program"])
    assert frames[-1] == (
        FrameKind.FAILED,
        b"cannot execute /no/such/program: No such file or directory",
    )


def test_environment_variables_are_not_limited(agent: str) -> None:
    options = [word for i in range(65) for word in ("--env", f"FOOTHOLD_{i}={i}")]
    frames = converse([agent, "run", *options, "--", "/usr/bin/env"])
    lines = payloads(frames, FrameKind.STDOUT).decode().splitlines()
    assert {f"FOOTHOLD_{i}={i}" for i in range(65)} <= set(lines)


@pytest.mark.parametrize(
    ("options", "rejected"),
    [(["--rlimit", "as=1G"], "as=1G"), (["--fial", "x"], "--fial"), (["true"], "true")],
)
def test_it_names_the_option_that_it_rejects(agent: str, options: list[str], rejected: str) -> None:
    done = run([agent, "run", *options, "--", "/bin/true"], AGENT_ENVIRONMENT)
    assert done.returncode == EXIT_AGENT
    assert done.stderr.decode().startswith(f"agent: cannot use the option or value {rejected}: ")


def sysctl(file: Path, value: str) -> list[str]:
    """An option that sets a file of this test as if it were a sysctl: its path leads out of /proc."""
    return ["--sysctl", f"../..{file}={value}"]


def test_a_sysctl_is_restored_when_the_subject_has_ended(agent: str, tmp_path: Path) -> None:
    file = tmp_path / "setting"
    file.write_text("1")
    argv = [agent, "run", *sysctl(file, "2"), "--", "/bin/cat", str(file)]
    assert payloads(converse(argv), FrameKind.STDOUT) == b"2"
    assert file.read_text() == "1"


def test_sysctls_are_restored_when_one_cannot_be_set(agent: str, tmp_path: Path) -> None:
    file = tmp_path / "setting"
    file.write_text("1")
    argv = [agent, "run", "--text", *sysctl(file, "2"), *sysctl(tmp_path / "none", "3"), "--",
            "/bin/true"]  # fmt: skip
    done = run(argv, AGENT_ENVIRONMENT)
    assert done.returncode == EXIT_AGENT
    missing = f"/proc/sys/../..{tmp_path}/none"
    assert f"not started: cannot set {missing} to 3: No such file" in done.stdout.decode()
    assert file.read_text() == "1"


def test_a_setting_that_the_kernel_takes_otherwise_is_refused(agent: str) -> None:
    """As nr_hugepages, of which a kernel makes fewer if memory is short: here /dev/null."""
    argv = [agent, "run", *sysctl(Path("/dev/null"), "3"), "--", "/bin/true"]
    refusal = payloads(converse(argv), FrameKind.REFUSED).decode()
    assert refusal == "cannot set /proc/sys/../../dev/null to 3: Cannot allocate memory"


def test_soft_limits_leave_the_hard_ones(agent: str) -> None:
    argv = [agent, "run", "--rlimit", "nofile=64:soft", "--rlimit", "core=4096", "--",
            "/bin/sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc"]  # fmt: skip
    soft, hard, *sizes = payloads(converse(argv), FrameKind.STDOUT).decode().split()
    assert soft == "64"
    assert int(hard) > 64
    assert sizes == ["8", "8"]  # blocks of 512 bytes


def test_sysctls_are_restored_when_the_fork_fails(tmp_path: Path) -> None:
    file = tmp_path / "setting"
    file.write_text("1")
    agent = build_agent(tmp_path / "agent", HERE / "failing_fork.c", flags=("-Wl,--wrap=fork",))
    argv = [str(agent), "run", "--text", *sysctl(file, "2"), "--", "/bin/true"]
    done = run(argv, AGENT_ENVIRONMENT)
    assert done.returncode == EXIT_AGENT
    message = b"agent: cannot fork for /bin/true: Resource temporarily unavailable\n"
    assert done.stderr == message
    assert file.read_text() == "1"


def test_it_knows_every_call_and_word_of_the_harness(agent: str) -> None:
    kinds = [(call, word) for call, words in CALLS.items() for word in ("", *words)]
    options = [
        option
        for call, word in kinds
        for option in ("--fail", f"{call}[{word}]:9/1:12" if word else f"{call}:9/1:12")
    ]
    done = run([agent, "run", "--text", *options, "--", "/bin/true"], AGENT_ENVIRONMENT)
    assert b"cannot use the option" not in done.stderr
    named = re.findall(r'^\t\{"(\w+)", \{SYS_', (AGENT / "faults.c").read_text(), re.MULTILINE)
    assert named == list(CALLS)
