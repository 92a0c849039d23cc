"""Subjects under supervision: the frames, the bounds, the holds, and agents that lie."""

from __future__ import annotations

import json
import os
import struct
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import (
    GuestError,
    InfrastructureError,
    SubjectError,
    UsageError,
)
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Record, Stop, Supervision
from foothold_lab.harness.transport import supervised
from foothold_lab.harness.transport.supervised import (
    MOST_FILES,
    MOST_HOLDS,
    MOST_LINE,
    MOST_OUTPUT,
    LostContactError,
    agent_arguments,
    supervise,
)
from tests.unit.transport.sealing import Sealer

ENDING = {"status": 0, "signal": 0, "wall": 0.5, "user": 0.25, "system": 0.25, "max_rss": 4096,
          "minor_faults": 1, "outlived": 0}  # fmt: skip
STARTED = {"pid": 7, "page_size": 16384}


def frame(kind: str, data: bytes | object) -> bytes:
    payload = data if isinstance(data, bytes) else json.dumps(data).encode()
    return kind.encode() + struct.pack("<I", len(payload)) + payload


class Script:
    """An agent that says what it is told to say, in these pieces, or in pieces of `size` bytes."""

    def __init__(self, pieces: Iterable[bytes], size: int = 0) -> None:
        self._pieces = deque(pieces)
        self._size = size
        self._sealer = Sealer()
        self.heard: list[bytes] = []

    def send(self, data: bytes, deadline: Deadline) -> None:
        if not self._sealer.hear(data):
            self.heard.append(data)
        elif self._size:
            stream = self._sealer.seal(b"".join(self._pieces))
            self._pieces = deque(
                stream[at : at + self._size] for at in range(0, len(stream), self._size)
            )

    def receive(self, deadline: Deadline) -> bytes:
        if not self._pieces:
            raise TimeoutError
        piece = self._pieces.popleft()
        return piece if self._size else self._sealer.seal(piece)

    def complaint(self) -> str:
        return "the agent's own words"

    def close(self) -> None:
        pass


def watch(*pieces: bytes) -> Record:
    return supervise(Script(pieces), ["subject"], Deadline.after(5))


@given(st.lists(st.tuples(st.sampled_from("oe"), st.binary(max_size=300))), st.integers(1, 50))
def test_receives_all_output_however_it_is_split(
    output: list[tuple[str, bytes]], size: int
) -> None:
    stream = frame("s", STARTED)
    stream += b"".join(frame(kind, data) for kind, data in output) + frame("x", ENDING)
    record = supervise(Script([stream], size), ["subject"], Deadline.after(5))
    assert record.stdout == b"".join(data for kind, data in output if kind == "o")
    assert record.stderr == b"".join(data for kind, data in output if kind == "e")
    assert (record.pid, record.ending.status, record.ending.wall) == (7, 0, 0.5)
    assert record.page_size == 16384


def test_a_checkpoint_reads_the_maps_and_continues() -> None:
    hold = b'{"event":"hold","at":"reserved"}\n'
    script = Script(
        [
            frame("s", STARTED),
            frame("o", b'{"event":"start"}\n' + hold[:10]),
            frame("o", hold[10:]),
            frame("m", b"00400000-00401000 r--p\n"),
            frame("o", b'{"event":"hold","at":"end"}\n'),
            frame("m", b"later\n"),
            frame("x", ENDING),
        ]
    )
    seen: list[str] = []
    record = supervise(script, ["subject"], Deadline.after(5), on_checkpoint=seen.append)
    assert seen == ["reserved", "end"]
    assert record.maps == {"reserved": "00400000-00401000 r--p\n", "end": "later\n"}
    assert b"".join(script.heard) == (frame("m", b"") + frame("i", b"\n")) * 2


class EndedAgent(Script):
    """An agent that has written its last frame and is gone: nothing can be sent to it."""

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._sealer.hear(data)
        raise BrokenPipeError(32, "Broken pipe")

    def receive(self, deadline: Deadline) -> bytes:
        return super().receive(deadline) if self._pieces else b""


@pytest.mark.parametrize(
    ("said", "pattern"), [(b"ok\n", "ok"), (b'{"event":"hold","at":"reserved"}\n', "")]
)
def test_reads_the_end_after_a_write_that_fails(said: bytes, pattern: str) -> None:
    script = EndedAgent([frame("s", STARTED), frame("o", said), frame("x", ENDING)])
    how = Supervision(timeout=1, ready_pattern=pattern)
    record = supervise(script, ["s"], Deadline.after(5), how=how)
    assert (record.stdout, record.ready, record.ending.status) == (said, bool(pattern), 0)


def test_loses_contact_if_no_end_follows_a_write_that_fails() -> None:
    script = EndedAgent([frame("s", STARTED), frame("o", b"ok\n")])
    with pytest.raises(LostContactError, match="the agent's own words"):
        supervise(script, ["s"], Deadline.after(5), how=Supervision(ready_pattern="ok"))


FORGED = frame("x", ENDING)[:5] + bytes(8) + frame("x", ENDING)[5:]


class ForgingSubject(Script):
    """An agent whose subject has found its line: the last piece has no seal."""

    def receive(self, deadline: Deadline) -> bytes:
        return super().receive(deadline) if len(self._pieces) > 1 else self._pieces.popleft()


@pytest.mark.parametrize("forged", [FORGED, b"?" * 13, frame("x", ENDING) * 2])
def test_recognises_bytes_that_the_agent_did_not_write(forged: bytes) -> None:
    script = ForgingSubject([frame("s", STARTED), frame("o", b"true"), forged])
    with pytest.raises(SubjectError, match="not written by it") as caught:
        supervise(script, ["s"], Deadline.after(5))
    assert caught.value.code is Code.SUBJECT_FORGED
    assert caught.value.record
    assert caught.value.record.stdout == b"true"


def test_a_subject_may_write_before_its_start_is_reported() -> None:
    script = ForgingSubject([frame("p", b""), b"forged\n" * 2])
    with pytest.raises(SubjectError) as caught:
        supervise(script, ["s"], Deadline.after(5))
    assert caught.value.code is Code.SUBJECT_FORGED


def test_recognises_a_frame_that_is_sent_again() -> None:
    sealer = Sealer()

    class Replay(Script):
        def send(self, data: bytes, deadline: Deadline) -> None:
            if sealer.hear(data):
                begun = sealer.seal(frame("s", STARTED))
                said = sealer.seal(frame("o", b"once"))
                self._pieces = deque([begun, said, said])

        def receive(self, deadline: Deadline) -> bytes:
            return self._pieces.popleft()

    with pytest.raises(SubjectError) as caught:
        supervise(Replay([]), ["s"], Deadline.after(5))
    assert caught.value.code is Code.SUBJECT_FORGED


def test_answers_one_hold_after_another_and_bounds_them() -> None:
    holds = b'{"event":"hold","at":"x"}\n' * 300
    maps = [frame("m", b"maps\n")] * 300
    script = Script([frame("s", STARTED), frame("o", holds), *maps, frame("x", ENDING)])
    record = supervise(script, ["s"], Deadline.after(5))
    assert script.heard == [frame("m", b"") + frame("i", b"\n")] * MOST_HOLDS
    assert record.cut == ("checkpoints",)


def test_a_hold_waits_for_the_maps_of_the_one_before() -> None:
    holds = b'{"event":"hold","at":"a"}\n{"event":"hold","at":"b"}\n'
    script = Script([frame("s", STARTED), frame("o", holds), frame("x", ENDING)])
    supervise(script, ["s"], Deadline.after(5))
    assert script.heard == [frame("m", b"") + frame("i", b"\n")]


def test_the_maps_behind_a_stop_are_those_of_the_stop() -> None:
    hold = frame("o", b'{"event":"hold","at":"reserved"}\n')
    stopped = frame("h", {"reason": "timeout"})
    record = watch(
        frame("s", STARTED), hold, stopped, frame("m", b"at the stop"), frame("m", b""),
        frame("x", ENDING | {"signal": 9}),
    )  # fmt: skip
    assert record.maps == {"running": "at the stop"}


def test_says_which_maps_were_cut() -> None:
    begun = frame("s", STARTED)
    record = watch(begun, frame("y", b"maps"), frame("l", b"many\n"), frame("x", ENDING))
    assert (record.maps, record.cut) == ({"end": "many\n"}, ("maps-end",))


def test_bounds_the_maps_of_all_checkpoints() -> None:
    names = [f"checkpoint{number}" for number in range(6)]
    holds = "".join(f'{{"event":"hold","at":"{name}"}}\n' for name in names).encode()
    maps = [frame("m", b"x" * (8 << 20))] * 6
    record = watch(frame("s", STARTED), frame("o", holds), *maps, frame("x", ENDING))
    assert list(record.maps) == names[:4]
    assert record.cut == tuple(f"maps-{name}" for name in names[4:])


def test_keeps_files_by_names_that_this_machine_can_store(tmp_path: Path) -> None:
    """A guest chooses them: names that are not UTF-8, too long, or directories of each other."""
    files = {
        b"\xff": b"1", b"\xfe/x": b"2", b"\xe4" * 255: b"3", b"y" * 256: b"no", b"z/" * 1100: b"no",
        b"a": b"4", b"a/b": b"no", b"c/d": b"5", b"c": b"no", b"../e": b"no", b"/etc/f": b"no",
        b"new\nline": b"6",
    }  # fmt: skip
    sent = [frame("d", name + b"\0" + content) for name, content in files.items()]
    record = watch(frame("s", STARTED), *sent, frame("x", ENDING))
    record.write(tmp_path)
    stored = {os.fsencode(path.relative_to(tmp_path / "files")): path.read_bytes()
              for path in (tmp_path / "files").rglob("*") if path.is_file()}  # fmt: skip
    assert stored == {name: content for name, content in files.items() if content != b"no"}
    assert record.cut == ("files",)
    many = [frame("d", f"{number}\0".encode()) for number in range(MOST_FILES + 1)]
    flood = watch(frame("s", STARTED), *many, frame("x", ENDING))
    assert (len(flood.written), flood.cut) == (MOST_FILES, ("files",))


class DeafAgent(Script):
    """An agent that reads no more after the key."""

    def send(self, data: bytes, deadline: Deadline) -> None:
        if not self._sealer.hear(data):
            raise TimeoutError


def test_a_send_has_a_deadline() -> None:
    script = DeafAgent([frame("s", STARTED), frame("o", b'{"event":"hold","at":"end"}\n')])
    with pytest.raises(SubjectError, match="still running") as caught:
        supervise(script, ["s"], Deadline.after(5))
    assert caught.value.code is Code.SUBJECT_DEADLINE


def test_an_agent_that_starts_no_subject_is_blamed() -> None:
    with pytest.raises(GuestError) as caught:
        supervise(SilentAgent([]), ["s"], Deadline.after(0))
    assert caught.value.code is Code.GUEST_NOT_STARTED


class SilentAgent(Script):
    """An agent that says nothing."""

    def receive(self, deadline: Deadline) -> bytes:
        raise TimeoutError


def test_keeps_the_state_of_the_guest() -> None:
    state = b"after\n/proc/sys/vm/max_map_count\t65530\n"
    record = watch(frame("s", STARTED), frame("g", state), frame("x", ENDING))
    assert record.guest_state == {"after": "/proc/sys/vm/max_map_count\t65530\n"}


def test_leaves_out_maps_of_a_program_that_has_ended() -> None:
    record, _ = listen("ok", frame("o", b"ok\n"), frame("m", b""), frame("x", ENDING))
    assert (record.ready, record.maps) == (True, {})


@given(st.lists(st.binary(max_size=200)))
def test_invalid_messages_are_lost_contact_or_guest_errors(pieces: list[bytes]) -> None:
    with pytest.raises((LostContactError, GuestError, SubjectError)):
        watch(*pieces)


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [frame("s", {"pid": "x"})],
        [frame("s", {"pid": 7, "page_size": 0})],
        [frame("q", b"")],
        [b"o" + b"\xff" * 4],
        [frame("x", {"status": "done"})],
        [frame("x", b"\xff")],
    ],
)
def test_invalid_frames_and_early_ends_are_lost_contact(pieces: list[bytes]) -> None:
    with pytest.raises(LostContactError):
        watch(*pieces)


def test_ignores_maps_that_were_not_requested() -> None:
    record = supervise(
        Script([frame("s", STARTED), frame("m", b"lies"), frame("x", ENDING)]),
        ["s"],
        Deadline.after(5),
    )
    assert record.maps == {}


def test_reports_the_last_output_of_a_subject_at_the_deadline() -> None:
    with pytest.raises(SubjectError, match="still running after") as caught:
        watch(frame("s", STARTED), frame("e", b"working on it"))
    assert "working on it" in caught.value.remedy


def test_bounds_output_and_says_so() -> None:
    chunk = frame("e", b"y" * 65536)
    flood = [chunk] * (MOST_OUTPUT // 65536 + 1)
    record = watch(frame("s", STARTED), frame("o", b"hello\n"), *flood, frame("x", ENDING))
    assert (len(record.stderr), record.stdout) == (MOST_OUTPUT, b"hello\n")
    assert record.cut == ("stderr",)


def listen(ready_pattern: str, *pieces: bytes) -> tuple[Record, bytes]:
    script = Script([frame("s", STARTED), *pieces])
    how = Supervision(timeout=1, ready_pattern=ready_pattern)
    return supervise(script, ["s"], Deadline.after(60), how=how), b"".join(script.heard)


def test_stops_a_subject_that_is_ready() -> None:
    killed = frame("x", ENDING | {"status": -1, "signal": 9})
    record, heard = listen(
        "^listening on [0-9]+$",
        frame("o", b"starting\nlistening "),
        frame("e", b"warning\n"),
        frame("o", b"on 80\n"),
        frame("h", {"reason": "request", "activity": "waits", "calls": "accept", "threads": 2}),
        frame("m", b"maps"),
        killed,
    )
    assert (record.ready, record.stopped, record.maps) == (
        True,
        True,
        {"running": b"maps".decode()},
    )
    assert heard == frame("k", b"")
    assert record.stop == Stop(reason="request", activity="waits", calls="accept", threads=2)


@pytest.mark.parametrize("condition", ["idle", "port", "file", "notify"])
def test_takes_from_the_agent_that_a_subject_is_ready(condition: str) -> None:
    killed = frame("x", ENDING | {"status": -1, "signal": 9})
    stopped = frame("h", {"reason": condition, "activity": "waits", "complete": True})
    record, heard = listen("", stopped, frame("m", b"maps"), killed)
    assert (record.ready, record.stopped, record.maps) == (True, True, {"running": "maps"})
    assert heard == b""


def test_passes_ready_conditions_to_the_agent() -> None:
    how = Supervision(ready_idle=0.15, ready_port=80, ready_file="/run/x.pid", ready_notify=True)
    assert agent_arguments(Limits(), ["a"], how)[:-2] == [
        "--ready-idle", "150", "--ready-port", "80", "--ready-file", "/run/x.pid", "--ready-notify",
    ]  # fmt: skip


def test_matches_an_incomplete_line_once() -> None:
    killed = frame("x", ENDING | {"status": -1, "signal": 9})
    assert listen("^> $", frame("o", b"> "), frame("m", b""), killed)[0].ready
    assert not listen("^ready$", frame("o", b"not ready\n"), frame("x", ENDING))[0].ready


def test_matches_a_hostile_output_in_short_time() -> None:
    """Byte by byte, without an end of the line, against a pattern that is exponential for `re`."""
    flood = frame("o", b"a") * 100_000 + frame("o", b"a" * 900_000) + frame("o", b"!\n")
    started = time.process_time()
    record, _ = listen("(a+)+$", flood, frame("x", ENDING | {"status": 0}))
    assert (record.ready, len(record.stdout)) == (True, 1_000_002)
    record, _ = listen("^(a+)+b$", flood, frame("x", ENDING | {"status": 0}))
    assert (record.ready, len(record.stdout)) == (False, 1_000_002)
    assert time.process_time() - started < 10


def test_matches_a_line_that_becomes_long_when_it_ends() -> None:
    pieces = [frame("o", b"a" * MOST_LINE), frame("o", b"listening"), frame("o", b"\n")]
    assert listen("a+listening$", *pieces, frame("x", ENDING))[0].ready


def test_reports_a_subject_that_cannot_start() -> None:
    with pytest.raises(SubjectError, match="cannot execute x: No such file"):
        watch(
            frame("s", b'{"pid":7,"page_size":4096}')
            + frame("f", b"cannot execute x: No such file")
        )


def test_names_what_another_user_lacks_to_start_a_program() -> None:
    refused = frame("s", STARTED) + frame("f", b"cannot execute /x/p: Permission denied")
    deadline = Deadline.after(5)
    with pytest.raises(SubjectError) as as_agent:
        supervise(Script([refused]), ["/x/p"], deadline)
    with pytest.raises(SubjectError) as as_user:
        supervise(Script([refused]), ["/x/p"], deadline, how=Supervision(user="daemon"))
    assert as_agent.value.remedy == ""
    assert "`daemon`" in as_user.value.remedy
    assert "namei -l /x/p" in as_user.value.remedy


def test_reports_a_user_that_is_unknown() -> None:
    with pytest.raises(UsageError, match="--user nosuch"):
        watch(frame("z", b"nosuch"))


def test_bounds_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "MOST_TRACE", 4 << 20)
    chunk = frame("t", b"7 brk(NULL) = 0x1\n" * 100)
    begun = frame("s", STARTED)
    record = watch(begun, chunk, chunk, frame("x", ENDING))
    assert record.trace == b"7 brk(NULL) = 0x1\n" * 200
    assert record.cut == ()
    assert watch(begun, frame("x", ENDING)).trace is None
    flood = watch(begun, *([frame("t", b"y" * 65536)] * 80), frame("x", ENDING))
    assert len(flood.trace or b"") == 4 << 20
    assert flood.cut == ("trace",)


def test_blames_infrastructure_if_tracing_fails() -> None:
    said = frame("t", b"strace: PTRACE_SEIZE: Operation not permitted\n")
    with pytest.raises(InfrastructureError, match="PTRACE_SEIZE: Operation not permitted") as it:
        watch(said + frame("f", b""))
    assert "--no-trace" in it.value.remedy


def test_limits_become_options_of_the_agent() -> None:
    assert agent_arguments(Limits(), ["a", "b"]) == ["--", "a", "b"]
    assert agent_arguments(Limits(rlimit_as=300 << 20), ["a"]) == [
        "--rlimit", "as=314572800", "--", "a",
    ]  # fmt: skip
    traced = agent_arguments(
        Limits(),
        ["a"],
        Supervision(trace=True, environment={"K": "V"}, directory="/d", root="/host"),
        "/bin/strace",
    )
    assert traced == [
        "--trace", "/bin/strace", "--env", "K=V", "--chroot", "/host",
        "--chdir", "/d", "--", "a",
    ]  # fmt: skip


def test_requests_exit_maps_only_with_a_tracer() -> None:
    last = Supervision(trace=True, exit_maps=True)
    assert "--exit-maps" in agent_arguments(Limits(), ["a"], last, "/bin/strace")
    assert "--exit-maps" not in agent_arguments(Limits(), ["a"], last, "fifo:/run/log")
    assert "--exit-maps" not in agent_arguments(Limits(), ["a"], Supervision(exit_maps=True))


def test_receives_exit_maps_without_a_request() -> None:
    maps = b"00400000-00401000 r--p\n"
    seen = watch(frame("s", STARTED), frame("l", maps), frame("x", ENDING))
    assert (seen.maps, seen.stopped) == ({"end": maps.decode()}, False)


def test_every_limit_reaches_the_agent() -> None:
    text = (
        "rlimit_data=1M+rlimit_stack=2M+memory=64M+overcommit=2+max_map_count=200+no-aslr"
        "+layout=legacy+ceiling=39bit+occupied=0x1000000-0x2000000+hints=ignored@0x3000000-0x4000000"
        "+fail=mmap:3:ENOMEM+fail=mprotect[exec]:2-:EACCES+rlimit_nofile=64:soft+mmap_rnd_bits=28"
        "+mmap_rnd_compat_bits=8+hugepages=3+thp=never+wx=refused+noreplace=unknown"
        "+noreserve=ignored+exec=refused@/tmp+exec=refused@/var/tmp"
    )
    words = agent_arguments(Limits.parse(text), ["a"])[:-2]
    assert list(zip(words[::2], words[1::2], strict=True)) == [
        ("--rlimit", "data=1048576"), ("--rlimit", "stack=2097152"),
        ("--rlimit", "nofile=64:soft"), ("--memory", "67108864"),
        ("--sysctl", "vm/overcommit_memory=2"), ("--sysctl", "vm/max_map_count=200"),
        ("--sysctl", "vm/mmap_rnd_bits=28"), ("--sysctl", "vm/mmap_rnd_compat_bits=8"),
        ("--sysctl", "vm/nr_hugepages=3"), ("--layout", "fixed"), ("--layout", "legacy"),
        ("--thp", "never"), ("--write-execute", "refused"),
        ("--no-exec", "/tmp"), ("--no-exec", "/var/tmp"),
        ("--ceiling", "0x8000000000"), ("--occupy", "0x1000000-0x2000000"),
        ("--ignore-hints", "0x3000000-0x4000000"), ("--ignore-flag", "noreplace"),
        ("--ignore-flag", "noreserve"), ("--fail", "mmap:3/0:12"),
        ("--fail", "mprotect[exec]:2/1:13"),
    ]  # fmt: skip
