"""The doctor: each thing that can be wrong with a machine is named, with its remedy."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from foothold_lab.harness.guests import doctor, uml
from foothold_lab.harness.guests.doctor import Check, examine
from foothold_lab.harness.guests.host_probe import Host
from foothold_lab.harness.guests.kvm_probe import Kvm
from foothold_lab.images import apt
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache

Look = Callable[..., dict[str, Check]]
WELL = Host(ptrace=0, namespaces=0, xstate=2696, executable_tmpfs=True)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Examine a machine that is well but for what is said of it."""

    def look(host: Host = WELL, *, packages: str | None = None) -> dict[str, Check]:
        for module in (doctor, uml):
            name = "examine_host" if module is doctor else "examine"
            monkeypatch.setattr(module, name, lambda: host)
        monkeypatch.setattr(apt, "unavailable_reason", lambda: packages)
        return {check.guest: check for check in examine(Builder(Cache(tmp_path)))}

    return look


def test_a_machine_that_is_well(machine: Look) -> None:
    checks = machine()
    for name in (
        "packages",
        "disk",
        "ptrace",
        "namespaces",
        "tmpfs",
        "xstate",
        "native",
        "uml-6.1",
        "uml-6.12",
        "qemu-x86_64",
    ):
        assert checks[name].ok, checks[name]


def test_no_ptrace(machine: Look) -> None:
    checks = machine(Host(errno.EPERM, 0, 0, True))
    assert not checks["ptrace"].ok
    assert "SYS_PTRACE" in checks["ptrace"].remedy
    for name in ("uml-6.1", "uml-6.12"):
        assert not checks[name].ok
        assert "refuses ptrace" in checks[name].reason
        assert checks[name].remedy
    assert checks["qemu-x86_64"].ok


def test_no_namespaces_leaves_uml_unconfined_and_says_so(machine: Look) -> None:
    checks = machine(Host(0, errno.EPERM, 0, True))
    assert not checks["namespaces"].ok
    assert checks["uml-6.1"].ok
    assert any("not confined" in note for note in checks["uml-6.1"].notes)


def test_no_executable_tmpfs(machine: Look) -> None:
    # with namespaces a guest gets a tmpfs of its own
    assert machine(Host(0, 0, 0, False))["uml-6.1"].ok
    checks = machine(Host(0, errno.EPERM, 0, False))
    assert not checks["tmpfs"].ok
    assert not checks["uml-6.1"].ok
    assert "remount,exec" in checks["uml-6.1"].remedy


def test_amx_with_an_old_uml(machine: Look) -> None:
    checks = machine(Host(0, 0, 11008, True))
    assert "errno = 14" in checks["xstate"].reason
    assert any("xstate shim" in note for note in checks["uml-6.12"].notes)


def test_no_apt_and_nothing_built(machine: Look) -> None:
    checks = machine(packages="apt-get is not on this machine")
    assert not checks["packages"].ok
    for name in ("native", "uml-6.1", "qemu-x86_64"):
        assert not checks[name].ok
        assert "apt-get is not on this machine" in checks[name].reason
        assert checks[name].remedy


def test_no_disk(machine: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOM", 1 << 60)
    check = machine()["disk"]
    assert not check.ok
    assert "FOOTHOLD_CACHE" in check.remedy


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (PermissionError(13, "Permission denied"), "refuses this user", "group docker"),
        (FileNotFoundError(2, "No such file or directory"), "no Docker engine", "apt-get install"),
        (ConnectionRefusedError(111, "Connection refused"), "no Docker engine", "dockerd"),
    ],
)
def test_docker(
    error: OSError, reason: str, remedy: str, monkeypatch: pytest.MonkeyPatch, machine: Look
) -> None:
    import docker

    def refuse(**_: object) -> None:
        raise docker.errors.DockerException(f"Error while fetching server API version: {error}")

    monkeypatch.setattr(docker, "from_env", refuse)
    check = machine()["docker"]
    assert not check.ok
    assert reason in check.reason
    assert remedy in check.remedy


def test_kvm_that_failed_is_remembered_with_its_reason(tmp_path: Path) -> None:
    kvm = Kvm(tmp_path)
    if kvm.reason():
        pytest.skip(f"no KVM to begin with: {kvm.reason()}")
    kvm.does_not_work("emulation failure")
    assert Kvm(tmp_path).reason() == "emulation failure"
    assert str(tmp_path) in kvm.remedy()


def test_nothing_was_downloaded_or_built(machine: Look, tmp_path: Path) -> None:
    machine()
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "debs").exists()
