"""A machine in a directory: a tree of Debian's packages that looks like a distribution, and users."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.images.apt import Apt, PackageSet
from foothold_lab.images.cache import Cache
from foothold_lab.images.mirror import find_mirror

ROOT = Path(__file__).parents[2]
BASE = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "diffutils", "findutils", "grep", "gzip", "hostname",
    "libc-bin", "mawk", "python3-venv", "sed", "tar", "util-linux",
)  # fmt: skip
SECONDS = 5400  # of one command: from nothing, 84 s on a quiet machine, 378 s on one with load 14
USERS = {"root": (0, "/root"), "user": (1000, "/home/user")}
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_ACCOUNTS = {**USERS, "nobody": (65534, "/nonexistent")}


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """What a machine looks like.

    title: as in the table. suite: the suite of Debian that its programs are from.
    base, packages: those that it has; absent: names that no package begins with.
    complete: what is done in the tree when they are unpacked.
    release: /etc/os-release. files: other files, by path; `MIRROR` stands for the Debian mirror.
    certificates: where the certificates of authorities are.
    refused: system calls that fail for users but root. needs_mirror: whether a mirror must be chosen.
    """

    title: str
    suite: str
    release: str
    base: tuple[str, ...] = BASE
    packages: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    complete: Callable[[Path], None] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    certificates: str = str(_CERTIFICATES)
    refused: tuple[str, ...] = ()
    needs_mirror: bool = True


@dataclass(frozen=True)
class Machine:
    """A machine in the directory `tree`."""

    distribution: Distribution
    tree: Path

    @property
    def restricted(self) -> tuple[str, ...]:
        """Return the users without capabilities in their namespaces: UML guests cannot be confined."""
        return ("user",) if self.distribution.refused else ()

    def run(
        self, user: str, *argv: str, offline: bool = False, seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout of a user, to its end, with all its children."""
        number, home = USERS[user]
        settings = {
            "tree": str(self.tree),
            "user": number,
            "home": f"{home}/foothold",
            "environment": self._environment(user, home),
            "refused": self.distribution.refused if number else (),
            "namespace": str(Path("/proc/self/ns/mnt").readlink()),
        }
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return subprocess.run(
            [*unshare, *(["--net"] if offline else []), sys.executable, "-I",
             str(Path(__file__).with_name("enter.py")), json.dumps(settings), *argv],
            capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _environment(self, user: str, home: str) -> dict[str, str]:
        certificates = self.distribution.certificates
        variables = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        return {
            **variables,
            "HOME": home,
            "USER": user,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "PIP_CERT": certificates,
            "SSL_CERT_FILE": certificates,
        }


@contextlib.contextmanager
def machine(distribution: Distribution, folder: Path) -> Iterator[Machine]:
    """Make a machine below an empty directory. Remove it afterwards. Needs root."""
    tree = folder / "tree"
    tree.mkdir()
    try:
        _install(distribution, tree)
        _configure(distribution, tree)
        yield Machine(distribution, tree)
    finally:
        mounted = Path("/proc/self/mountinfo").read_text()
        assert f" {tree}/" not in mounted, "something is mounted in the tree"
        shutil.rmtree(tree)


def _install(distribution: Distribution, tree: Path) -> None:
    """Unpack the packages: none of their scripts is run."""
    wanted = PackageSet(
        suite=distribution.suite,
        packages=(*distribution.base, *distribution.packages),
        only=(rf"(?!({'|'.join(distribution.absent)})(?![a-z])).*",) if distribution.absent else (),
    )
    apt = Apt(Cache())
    debs = apt.resolve(wanted)
    apt.fetch(wanted, debs)
    for link, target in (
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ):
        (tree / target).mkdir(parents=True)
        (tree / link).symlink_to(target)
    apt.unpack(debs, tree)
    if distribution.complete:
        distribution.complete(tree)


def _configure(distribution: Distribution, tree: Path) -> None:
    if "apt" in distribution.packages:  # dpkg's installation makes it
        (tree / "var/lib/dpkg/status").touch()
    for name in ("dev", "proc", "sys", "tmp", "etc", "root", "home/user", "var/tmp"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    (tree / "var/tmp").chmod(0o1777)
    if not (tree / "usr/bin/sh").exists():
        (tree / "usr/bin/sh").symlink_to("dash")
    files = {
        "etc/passwd": "".join(
            f"{name}:x:{number}:{number}::{home}:/bin/sh\n"
            for name, (number, home) in _ACCOUNTS.items()
        ),
        "etc/group": "".join(f"{name}:x:{number}:\n" for name, (number, _) in _ACCOUNTS.items()),
        "etc/os-release": distribution.release,
        **distribution.files,
    }
    for name in ("hosts", "resolv.conf", "nsswitch.conf"):
        files[f"etc/{name}"] = Path("/etc", name).read_text()
    # Debian's pip reads them from Debian's place alone
    for path in (str(_CERTIFICATES), distribution.certificates):
        files[path.lstrip("/")] = _CERTIFICATES.read_text()
    for name, text in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_text(text.replace("MIRROR", find_mirror().url))
    for number, home in USERS.values():
        _copy_checkout(tree / home.lstrip("/") / "foothold")
        for folder, _, names in os.walk(tree / home.lstrip("/")):
            for name in (".", *names):
                os.lchown(Path(folder, name), number, number)


def _copy_checkout(place: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if os.path.lexists(ROOT / name):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name, follow_symlinks=False)
