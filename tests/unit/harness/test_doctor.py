"""The doctor: names each problem of a machine, and the remedy."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests import container_engine, doctor, native, podman_service, uml
from foothold_lab.harness.guests.doctor import Check, examine
from foothold_lab.harness.guests.host_probe import Host
from foothold_lab.harness.guests.kvm_probe import Kvm
from foothold_lab.images import apt
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError
from foothold_lab.images.mirror import CHOOSE_MIRROR, NoMirror

Examine = Callable[..., dict[str, Check]]
SOUND = Host(ptrace=0, namespaces=0, xstate=2696, executable_tmpfs=True)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Examines a machine that has no problems except the given ones."""

    def check(host: Host = SOUND, *, packages: ImageError | None = None) -> dict[str, Check]:
        for module in (doctor, uml):
            monkeypatch.setattr(module, "probe_host", lambda: host)
        monkeypatch.setattr(apt, "obstacle", lambda: packages)
        return {check.guest: check for check in examine(Builder(Cache(tmp_path)))}

    return check


def test_a_machine_without_problems(machine: Examine) -> None:
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


def test_no_ptrace(machine: Examine) -> None:
    checks = machine(replace(SOUND, ptrace=errno.EPERM, xstate=0))
    assert not checks["ptrace"].ok
    assert "SYS_PTRACE" in checks["ptrace"].remedy
    assert checks["xstate"].reason == "not measured: this host does not show it to a tracer"
    assert checks["uml-7.2"].ok  # it runs its processes by seccomp
    for name in ("uml-6.1", "uml-6.12", "uml-7.2-ptrace"):
        assert not checks[name].ok
        assert "refuses ptrace" in checks[name].reason
        assert checks[name].remedy
    assert checks["qemu-x86_64"].ok


def test_without_namespaces_uml_needs_consent(
    machine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = machine(replace(SOUND, namespaces=errno.EPERM))
    assert not checks["namespaces"].ok
    assert not checks["uml-6.1"].ok
    assert "FOOTHOLD_UNCONFINED=1" in checks["uml-6.1"].remedy
    monkeypatch.setenv("FOOTHOLD_UNCONFINED", "1")
    checks = machine(replace(SOUND, namespaces=errno.EPERM))
    assert not checks["namespaces"].ok
    assert checks["uml-6.1"].ok
    assert any("not confined" in note for note in checks["uml-6.1"].notes)


def test_no_executable_tmpfs(machine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTHOLD_UNCONFINED", "1")
    # with namespaces a guest has a tmpfs of its own
    assert machine(replace(SOUND, executable_tmpfs=False))["uml-6.1"].ok
    checks = machine(replace(SOUND, namespaces=errno.EPERM, executable_tmpfs=False))
    assert not checks["tmpfs"].ok
    assert not checks["uml-6.1"].ok
    assert "remount,exec" in checks["uml-6.1"].remedy
    assert "namespaces" not in checks["uml-6.1"].reason


def test_a_container_that_lacks_both_gets_one_remedy(machine: Examine) -> None:
    """After the remedy the guest boots: the second obstacle does not follow the first."""
    check = machine(replace(SOUND, namespaces=errno.EPERM, executable_tmpfs=False))["uml-6.1"]
    assert "refuses namespaces" in check.reason
    assert "/dev/shm is not executable" in check.reason
    assert "FOOTHOLD_UNCONFINED=1" in check.remedy
    assert "--tmpfs /dev/shm:exec" in check.remedy


def test_amx_with_an_old_uml(machine: Examine) -> None:
    checks = machine(replace(SOUND, xstate=11008))
    assert "errno = 14" in checks["xstate"].reason
    assert any("xstate shim" in note for note in checks["uml-6.12"].notes)


def test_without_a_mirror_all_guests_name_one_remedy(
    machine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "host_compiler", lambda: None)
    checks = machine(packages=NoMirror("no archive is known"))
    assert not checks["packages"].ok
    for name in ("native", "uml-6.1", "qemu-x86_64"):
        assert not checks[name].ok
        assert "no archive is known" in checks[name].reason
        assert checks[name].remedy.startswith(CHOOSE_MIRROR)


def test_no_disk(machine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOM", 1 << 60)
    check = machine()["disk"]
    assert not check.ok
    assert "FOOTHOLD_CACHE" in check.remedy


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (PermissionError(13, "Permission denied"), "refuses this user", "group docker"),
        (FileNotFoundError(2, "No such file or directory"), "no Docker engine", "docker.io"),
        (ConnectionRefusedError(111, "Connection refused"), "no Docker engine", "dockerd"),
    ],
)
def test_docker(
    error: OSError, reason: str, remedy: str, monkeypatch: pytest.MonkeyPatch, machine: Examine
) -> None:
    import docker

    def refuse(**_: object) -> None:
        raise docker.errors.DockerException(f"Error while fetching server API version: {error}")

    monkeypatch.setattr(docker, "from_env", refuse)
    check = machine()["docker"]
    assert not check.ok
    assert reason in check.reason
    assert remedy in check.remedy


def test_podman_is_not_installed(machine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTAINER_HOST", raising=False)
    monkeypatch.setattr(container_engine, "_sockets", lambda: iter(()))
    monkeypatch.setattr(podman_service, "PROGRAM", "no-such-podman")
    podman_service.end_service()
    check = machine()["podman"]
    assert not check.ok
    assert "not installed" in check.reason
    assert "the package podman" in check.remedy


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("unix:///nonexistent/podman.sock", "no Podman answers at CONTAINER_HOST=unix:///nonex"),
        ("ssh://core@server:22/run/podman/podman.sock", "is not a socket of this machine"),
    ],
)
def test_podman_that_is_named_does_not_answer(
    address: str, reason: str, machine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTAINER_HOST", address)
    check = machine()["podman"]
    assert not check.ok
    assert reason in check.reason
    assert "unset CONTAINER_HOST" in check.remedy


def test_stores_why_kvm_failed(tmp_path: Path) -> None:
    kvm = Kvm(tmp_path)
    if kvm.reason():
        pytest.skip(f"no KVM to begin with: {kvm.reason()}")
    kvm.does_not_work("emulation failure")
    assert Kvm(tmp_path).reason() == "emulation failure"
    assert str(tmp_path) in kvm.remedy()


def test_downloads_and_builds_nothing(machine: Examine, tmp_path: Path) -> None:
    machine()
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "debs").exists()
