"""What starts a sandbox, and what it needs of the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from foothold_lab.harness.guests.gvisor import GVisor
from foothold_lab.harness.guests.sandbox import SandboxView


def view(scratch: Path, overlay: Path | None = None) -> SandboxView:
    return SandboxView(
        root=Path("/images/root"),
        overlay=overlay,
        shown={"/share": Path("/runs/share")},
        scratch=scratch,
    )


def test_gvisor_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    support = GVisor(platform="systrap", scale=1).host_support()
    assert not support.ok
    assert support.reason == "gVisor runs as root only"
    assert support.remedy


def test_a_bundle_of_gvisor(tmp_path: Path) -> None:
    gvisor = GVisor(platform="ptrace", scale=1)
    images = {"runsc": Path("/images/runsc")}
    first = gvisor.command(images, view(tmp_path), ["/init", "facts"])
    second = gvisor.command(images, view(tmp_path), ["/init", "facts"])
    assert first[0] == "/images/runsc/usr/bin/runsc"
    assert {"--platform=ptrace", "--network=none", "--overlay2=root:memory"} <= set(first)
    assert first[-1] != second[-1]
    bundle = json.loads((tmp_path / first[-1] / "config.json").read_text())
    assert bundle["process"]["args"] == ["/init", "facts"]
    [share] = [each for each in bundle["mounts"] if each["type"] == "bind"]
    assert (share["source"], share["destination"]) == ("/runs/share", "/share")
    assert "ro" in share["options"]
