"""The hosts that are measured."""

from __future__ import annotations

from collections.abc import Mapping

from tests.hosts import alpine
from tests.hosts.machine import Distribution


def _debian(title: str, suite: str, release: str) -> Distribution:
    return Distribution(
        title=title,
        suite=suite,
        packages=("apt", "dpkg"),
        release=f"ID=debian\n{release}",
        files={
            "etc/apt/sources.list": f"deb MIRROR {suite} main\n",
        },
        needs_mirror=False,
    )


DISTRIBUTIONS: Mapping[str, Distribution] = {
    "debian-12": _debian("Debian 12", "bookworm", 'VERSION_ID="12"\n'),
    "debian-13": _debian("Debian 13", "trixie", 'VERSION_ID="13"\n'),
    "debian-testing": _debian("Debian testing", "forky", "VERSION_CODENAME=forky\n"),
    "ubuntu": Distribution(
        title="like Ubuntu 24.04",
        suite="trixie",
        packages=("apt", "dpkg"),
        absent=("debian-archive-keyring",),
        release='ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n',
        files={
            "etc/apt/sources.list.d/ubuntu.sources": "Types: deb\nURIs: http://ubuntu.invalid/ubuntu\n"
            "Suites: noble noble-updates\nComponents: main universe\n"
            "Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n",
        },
        # a user gets a namespace, and no capability in it (apparmor_restrict_unprivileged_userns)
        refused=("mount",),
    ),
    "fedora": Distribution(
        title="like Fedora",
        suite="trixie",
        packages=("libstdc++6",),  # dnf is linked with it
        absent=("apt", "dpkg", "debian-archive-keyring", "debconf"),
        release='ID=fedora\nVERSION_ID="42"\n',
        certificates="/etc/pki/tls/certs/ca-bundle.crt",
    ),
    "alpine": Distribution(
        title="like Alpine (musl)",
        suite="trixie",
        base=("busybox-static", "musl"),
        complete=alpine.complete,
        release='ID=alpine\nVERSION_ID="3.22.0"\n',
    ),
}
