"""Native without packages of Debian: by a compiler, or by a cache from another machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from foothold_lab.harness.evidence.strace import doubts, follow_subject, parse_trace
from foothold_lab.harness.guests import native
from foothold_lab.harness.guests.base import GuestConfig, run_program
from foothold_lab.harness.guests.native import Native
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.record import Supervision
from foothold_lab.images import apt, compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.catalogue import HOST_AGENT
from foothold_lab.images.errors import ImageError
from foothold_lab.images.mirror import CHOOSE_MIRROR


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    """An empty cache, on a machine that cannot use Debian packages."""
    monkeypatch.setattr(apt, "obstacle", lambda: ImageError("no mirror is known", CHOOSE_MIRROR))
    return Builder(Cache(tmp_path / "cache"))


def native_guest(builder: Builder, directory: Path) -> Native:
    return Native("native", GuestConfig(directory=directory, share=directory, builder=builder))


def test_needs_agent_and_strace_where_packages_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "obstacle", lambda: None)
    assert native.needs(Builder(Cache(tmp_path))) == ("agent", "strace")


def test_names_the_remedy_without_a_compiler(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "host_compiler", lambda: None)
    support = native_guest(builder, tmp_path).supported()
    assert not support.ok
    assert "no mirror is known" in support.reason
    assert CHOOSE_MIRROR in support.remedy
    assert "C compiler" in support.remedy


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({"agent", "strace"}, ("agent", "strace")),
        ({"agent"}, ("agent",)),
        (set(), (HOST_AGENT,)),
    ],
)
def test_uses_what_the_cache_has(
    there: set[str], taken: tuple[str, ...], builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "ready", lambda name: name in there)
    assert native.needs(builder) == taken


@pytest.mark.skipif(compiler.host_compiler() is None, reason="no C compiler is here")
def test_an_agent_built_by_this_compiler_traces_by_itself(builder: Builder, tmp_path: Path) -> None:
    guest = native_guest(builder, tmp_path)
    assert guest.supported().ok
    guest.boot(Deadline.after(60))
    assert guest.boot_record.provenance["agent"].startswith(HOST_AGENT)
    true = shutil.which("true")
    assert true
    for limits in ("none", "ceiling=39bit"):
        record = run_program(
            guest, [true], Limits.parse(limits), Deadline.after(60), how=Supervision(trace=True)
        )
        assert record.ending.status == 0
        trace = parse_trace(record.trace or b"")
        subject_trace = follow_subject(trace, record.pid)
        assert doubts(trace, subject_trace, record.ending) == []
        assert any(call.name == "mmap" for call in trace.calls)
