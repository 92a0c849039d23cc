"""What starts a sandbox, and what it needs of the machine."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.base import GuestConfig
from foothold_lab.harness.guests.bubblewrap import Bubblewrap
from foothold_lab.harness.guests.gvisor import GVisor
from foothold_lab.harness.guests.nspawn import Nspawn
from foothold_lab.harness.guests.sandbox import Sandbox, SandboxType, SandboxView
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache


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
    (tmp_path / "root/share").mkdir(parents=True)
    whole = replace(view(tmp_path), root=tmp_path / "root")
    first = gvisor.command(images, whole, ["/init", "facts"])
    second = gvisor.command(images, whole, ["/init", "facts"])
    assert first[0] == "/images/runsc/usr/bin/runsc"
    assert {"--platform=ptrace", "--network=none", "--overlay2=root:memory"} <= set(first)
    assert first[-1] != second[-1]
    bundle = json.loads((tmp_path / first[-1] / "config.json").read_text())
    assert bundle["process"]["args"] == ["/init", "facts"]
    [share] = [each for each in bundle["mounts"] if each["type"] == "bind"]
    assert (share["source"], share["destination"]) == ("/runs/share", "/share")
    assert "ro" in share["options"]
    assert bundle["root"]["path"] == str(tmp_path / "root")


def test_gvisor_makes_mount_points_in_a_copy_of_the_root(rooted: SandboxView) -> None:
    """`runsc` makes the directories at which something is mounted, if they are missing."""
    command = GVisor(platform="ptrace", scale=1).command({"runsc": Path("/r")}, rooted, ["/init"])
    bundle = json.loads((rooted.scratch / command[-1] / "config.json").read_text())
    copy = Path(bundle["root"]["path"])
    assert copy != rooted.root
    assert (copy / "etc/passwd").read_text() == "root/etc/passwd"
    assert copy.is_relative_to(rooted.scratch)


def test_nspawn_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    support = Nspawn().host_support()
    assert not support.ok
    assert support.reason == "systemd-nspawn runs as root only"
    assert "bubblewrap, which needs no root" in support.remedy


@pytest.fixture
def rooted(tmp_path: Path) -> SandboxView:
    """A root with one file, and a subject that brings a file with a colon in its name."""
    for name in ("root/etc/passwd", "overlay/home/me/a:b"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    return replace(view(tmp_path, tmp_path / "overlay"), root=tmp_path / "root")


def test_bubblewrap_of_debian_if_this_machine_has_none(
    rooted: SandboxView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert Bubblewrap().images == ()
    assert Bubblewrap().command({}, rooted, ["/init"])[0] == "bwrap"
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert Bubblewrap().images == ("bubblewrap",)
    command = Bubblewrap().command({"bubblewrap": Path("/images/bwrap")}, rooted, ["/init"])
    assert command[0] == "/images/bwrap/usr/bin/bwrap"
    assert command[-2:] == ["--", "/init"]


def test_nspawn_of_debian_if_this_machine_has_none(
    rooted: SandboxView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    command = Nspawn().command({}, rooted, ["/init"])
    assert command[0] == "bwrap"
    assert "systemd-nspawn" in command
    source = str(rooted.overlay).replace(":", "\\:")
    assert f"--bind-ro={source}/home/me/a\\:b:/home/me/a\\:b" in command


@pytest.mark.parametrize(
    ("sandbox", "words"),
    [
        (Bubblewrap(), ("--cap-drop ALL", "--disable-userns", "--ro-bind-try /proc/sys /proc/sys")),
        (Nspawn(), ("--drop-capability=all", "--no-new-privileges=yes", "--volatile=overlay")),
    ],
)
def test_a_subject_has_no_capabilities_on_the_kernel_of_the_host(
    sandbox: Bubblewrap | Nspawn,
    words: tuple[str, ...],
    rooted: SandboxView,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    line = " ".join(sandbox.command({}, rooted, ["/init"]))
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize("kind", [Nspawn(), Bubblewrap(), GVisor(platform="ptrace", scale=1)])
def test_a_stopped_sandbox_starts_no_program(
    kind: SandboxType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory is gone: what it makes there would be in the working directory."""
    monkeypatch.chdir(tmp_path)
    config = GuestConfig(directory=tmp_path, share=tmp_path, builder=Builder(Cache(tmp_path / "c")))
    guest = Sandbox("sandbox", kind, config)
    with (
        pytest.raises(GuestError) as error,
        guest.open(["/bin/true"], Limits(), Deadline.after(1)),
    ):
        pass
    assert error.value.code is Code.GUEST_DIED
    assert not [*tmp_path.iterdir()]
