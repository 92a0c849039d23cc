"""Root in a UML guest, and a hostile kernel, against the machine that runs the guest."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.base import Guest, GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import known_guests, make
from foothold_lab.harness.guests.host_probe import probe_host
from foothold_lab.harness.guests.uml import MEMORY, UNCONFINED, Uml, UmlKernel
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.images.builder import Builder
from tests import refusing
from tests.guests.conftest import BootGuest, boot, builder, history, images, place
from tests.host_compiler import host_compiler

__all__ = ["boot", "builder", "history", "images", "place"]

pytestmark = [
    pytest.mark.guests,
    pytest.mark.skipif(bool(probe_host().namespaces), reason="this host refuses namespaces"),
]

GUESTS = ("uml-bullseye", "uml-bookworm", "uml-trixie", "uml-testing", "uml-testing-ptrace")


@pytest.fixture(params=GUESTS)
def guest(request: pytest.FixtureRequest, builder: Builder, place: GuestConfig) -> Guest:
    return make(builder, known_guests(builder)[request.param], place)


def run_as_root(guest: Guest, script: str) -> str:
    """Run a script as root of a guest, which sees at /tmp/h what its process on the host sees."""
    mount = "mkdir -p /tmp/h; mount -t hostfs none /tmp/h -o / || exit 99\n"
    argv = ["/bin/sh", "-c", mount + script]
    record = run_program(guest, argv, Limits(), Deadline.after(100))
    assert record.ending.status != 99, record.stderr.decode()
    return record.stdout.decode(errors="replace")


def test_shows_no_device_and_no_procfs(guest: Guest, boot: BootGuest) -> None:
    boot(guest)
    assert run_as_root(guest, "ls -A /tmp/h/dev /tmp/h/proc /tmp/h/proc/self").split() == [
        "/tmp/h/dev:", "shm", "/tmp/h/proc:", "cpuinfo", "self", "/tmp/h/proc/self:", "exe",
    ]  # fmt: skip


def test_every_file_is_read_only(guest: Guest, place: GuestConfig, boot: BootGuest) -> None:
    boot(guest)
    (place.share / "file").write_text("content")
    script = f"""
    for path in /tmp/h /tmp/h/dev /tmp/h/proc /tmp/h{place.share} /tmp/h{place.share}/file \\
        /tmp/h{place.builder.image("root")}/init /tmp/h/proc/cpuinfo; do
        chmod 777 $path 2>/dev/null && echo chmod $path
        [ -d $path ] && touch $path/new 2>/dev/null && echo touch $path
        [ -f $path ] && (echo x >> $path) 2>/dev/null && echo write $path
        [ -f $path ] && rm -f $path 2>/dev/null && echo rm $path
    done
    """
    assert run_as_root(guest, script) == ""
    assert (place.share / "file").read_text() == "content"


def test_cannot_fill_the_memory_of_the_host(guest: Guest, boot: BootGuest) -> None:
    boot(guest)
    assert isinstance(guest, VirtualMachine)
    process = Path(f"/proc/{guest.process_id}")
    writable = {"/dev/shm": (MEMORY + 16) << 20, "/run/uml": 1 << 18}
    for line in (process / "mountinfo").read_text().splitlines():
        where, flags = line.split()[4:6]
        if where not in writable:
            assert "ro" in flags.split(","), line
    for where, most in writable.items():
        space = os.statvfs(f"{process}/root{where}")
        assert space.f_blocks * space.f_frsize <= most
        assert space.f_files <= 1024
    script = "dd if=/dev/zero of=/tmp/h/dev/shm/fill bs=1M count=600 && echo filled"
    try:
        assert run_as_root(guest, script) == ""
    except GuestError as error:
        # it has filled what is its own memory
        if not re.search("Kernel mode signal 7|memory of the UML kernel is full", str(error)):
            raise


def test_hides_secrets_of_the_root_of_the_host(
    guest: Guest, builder: Builder, place: GuestConfig, boot: BootGuest
) -> None:
    guest = make(builder, guest.name, replace(place, root="host", memory=512))
    boot(guest)
    script = """
    cd /tmp/h/host || exit 1
    find root tmp run proc sys dev var/tmp -mindepth 1 | head -5
    cat etc/shadow etc/gshadow etc/ssh/ssh_host_*_key
    ls etc | grep passwd
    """
    assert (
        run_as_root(guest, script).split()
        == ["passwd", "passwd-"][: len(list(Path("/etc").glob("passwd*")))]
    )


@pytest.mark.parametrize("image", ["uml-bookworm", "uml-forky"])
def test_a_kernel_of_the_user_sees_no_file_beside_it(
    image: str, builder: Builder, place: GuestConfig, tmp_path: Path, boot: BootGuest
) -> None:
    kernel = tmp_path / "kernel"
    shutil.copytree(builder.image(image), kernel)
    (kernel / "secret").write_text("of the user")
    (kernel / "lib/secret").write_text("of the user")
    release = builder.kernel_release(image)
    own = VirtualMachine("uml-own", Uml(UmlKernel(release=release, custom=kernel / "linux"), place))
    boot(own)
    seen = run_as_root(own, f"cd /tmp/h{kernel}; find . -type f; cat secret lib/secret")
    assert "./linux" in seen.split()
    assert not [name for name in seen.split() if name != "./linux" and ".so" not in name]


# ---- a hostile kernel: a program in the place of the kernel ----


@pytest.fixture
def hostile_kernel(tmp_path: Path) -> Path:
    program = tmp_path / "confined"
    source = Path(__file__).with_name("confined.c")
    subprocess.run(
        [*host_compiler(static=True), "-O1", "-static", "-o", program, source], check=True
    )
    return program


def keep(
    builder: Builder, *words: str | Path, before: Sequence[str | Path] = ()
) -> subprocess.Popen[str]:
    """Start the guest keeper, as the harness does. Its owner is this process."""
    return subprocess.Popen(
        [*before, builder.image("agent") / "agent", "keep", "--owner", "0", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    said = process.stdout.read()
    process.wait(30)
    assert process.stdin
    process.stdin.close()
    return said


CONFINEMENT = ("--ro", "/proc/cpuinfo", "--tmpfs", "/dev/shm", "1000000")


def test_a_hostile_kernel_is_refused_everything_it_does_not_need(
    builder: Builder, hostile_kernel: Path
) -> None:
    words = (*CONFINEMENT, "--ro", hostile_kernel, "--", hostile_kernel, str(os.getpid()))
    said = dict(line.split() for line in finish(keep(builder, *words)).splitlines())
    assert said == {
        "capabilities": "0",
        "signal-outside": "ESRCH",
        "signal-init": "done",  # and without effect: the init has gone on
        "trace-init": "EPERM",
        "unix": "done",
        "inet": "EAFNOSUPPORT",
        "netlink": "EAFNOSUPPORT",
        "clone3": "ENOSYS",
        "mount-i386": "ENOSYS",
        "mount-x32": "ENOSYS",
        "write-root": "EROFS",
    } | dict.fromkeys(
        ["namespace", "clone-namespace", "mount", "umount", "device", "bpf", "perf", "keyctl",
         "kexec", "module", "handle", "userfaultfd", "io_uring", "fsopen", "syslog", "pidfd_getfd"],
        "EPERM",
    )  # fmt: skip


@pytest.mark.skipif(not shutil.which("mount"), reason="no mount here")
@pytest.mark.parametrize("kernel", ["of today", "before 5.12"])
def test_a_mount_below_a_directory_is_read_only_too(
    kernel: str, builder: Builder, tmp_path: Path
) -> None:
    busybox = builder.image("root") / "bin/busybox"
    below = tmp_path / "shown" / "a b"
    below.mkdir(parents=True)
    # the mount exists in a namespace of this test only
    before: list[str | Path] = ["unshare", "-Urm", "sh", "-c",
              f'mount -t tmpfs none "{below}" && echo old > "{below}/file" && exec "$@"', "sh"]  # fmt: skip
    if kernel != "of today":
        before += refusing.command(errno.ENOSYS, "mount_setattr")
    script = f'{busybox} cat "{below}/file"; echo new > "{below}/file"; {busybox} chmod 777 "{below}"; echo end'
    words = (
        *CONFINEMENT,
        "--ro",
        tmp_path / "shown",
        "--ro",
        busybox,
        "--",
        busybox,
        "sh",
        "-c",
        script,
    )
    said = finish(keep(builder, *words, before=before))
    assert said.startswith("old\n"), said
    assert said.count("Read-only file system") == 2
    assert said.endswith("end\n")


def left(token: str) -> list[str]:
    """Return the processes whose command line names the token."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("end", ["the keeper is killed", "the owner is gone", "the guest ends"])
def test_nothing_outlives_the_keeper(end: str, builder: Builder, hostile_kernel: Path) -> None:
    token, then = f"outlives-{uuid.uuid4()}", "leave" if end == "the guest ends" else "stay"
    words = (*CONFINEMENT, "--ro", hostile_kernel, "--", hostile_kernel, token, then)
    process = keep(builder, *words)
    assert process.stdout and process.stdin
    assert process.stdout.readline() == "daemons started\n"
    if end == "the keeper is killed":
        process.kill()
    elif end == "the owner is gone":
        process.stdin.close()
    process.wait(20)
    deadline = time.monotonic() + 10
    while left(token) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left(token) == []
    assert process.stdout.read() == "", "an end of file: nobody holds the other end"


# ---- a machine that refuses namespaces ----

# in a user namespace of its own the machine allows no other
NO_NAMESPACES = ("unshare", "-Ur", "sh", "-c",
                 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh")  # fmt: skip


def foothold(*words: str, consent: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NO_NAMESPACES, sys.executable, "-m", "foothold_lab.harness.cli", *words],
        capture_output=True, text=True, timeout=200, check=False, stdin=subprocess.DEVNULL,
        env=os.environ | {UNCONFINED: consent},
    )  # fmt: skip


def test_without_namespaces_a_guest_needs_consent(tmp_path: Path) -> None:
    words = ("run", "--guest", "uml-testing", "--subject", "/bin/true", "--expect", "starts",
             "--limit", "none", "--run-dir")  # fmt: skip
    refused = foothold(*words, str(tmp_path / "refused"))
    assert "1 unsupported" in refused.stdout
    assert "refuses namespaces" in refused.stdout
    assert f"{UNCONFINED}=1" in refused.stdout
    accepted = foothold(*words, str(tmp_path / "accepted"), consent="1")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert "1 passed" in accepted.stdout
    assert re.search(r"not confined \(errno \d+\)", accepted.stdout)


def test_doctor_says_that_guests_cannot_be_confined() -> None:
    said = foothold("doctor").stdout
    assert "UML guests cannot be confined" in said
    assert f"{UNCONFINED}=1" in said
