"""What a guest with the root file system of this machine does not get of it.

A guest mounts file systems of its own over some directories. These, the homes of other users, and
files with secrets are not in the root that its process sees, so root in the guest cannot find them
below its own mounts either.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

# where the guest mounts file systems of its own: images/agent/init.c
_COVERED = ("/tmp", "/root", "/run", "/proc", "/sys", "/dev", "/var/tmp")
_FIRST_PERSON = 1000  # user ids below are those of services; SYS_UID_MAX of login.defs(5)

_SECRETS = (
    "etc/shadow*", "etc/gshadow*", "etc/sudoers", "etc/sudoers.d", "etc/ssh/ssh_host_*_key",
    "etc/ssl/private", "etc/krb5.keytab", "etc/NetworkManager/system-connections",
    "etc/wireguard", "etc/wpa_supplicant", "var/lib/sss/secrets",
)  # fmt: skip
_SECRETS_OF_A_USER = (
    ".ssh", ".gnupg", ".aws", ".azure", ".config/gcloud", ".config/gh", ".docker", ".kube",
    ".netrc", ".git-credentials", ".pypirc", ".npmrc", ".pgpass", ".password-store",
    ".local/share/keyrings", ".mozilla", ".config/google-chrome", ".config/chromium",
    ".bash_history", ".python_history",
)  # fmt: skip


def is_covered(path: Path) -> bool:
    """Return whether such a guest lacks everything at a path or below it."""
    return any(path.is_relative_to(each) for each in (*map(Path, _COVERED), *_homes_of_others()))


def hidden() -> Iterator[Path]:
    """Yield the paths of this machine that such a guest does not get: files and directories."""
    yield from (Path(each) for each in _COVERED)
    yield from _homes_of_others()
    for pattern in _SECRETS:
        yield from Path("/").glob(pattern)
    yield from (Path.home() / each for each in _SECRETS_OF_A_USER)


def _homes_of_others() -> Iterator[Path]:
    own = Path.home()
    homes = {Path(each.pw_dir) for each in pwd.getpwall() if each.pw_uid >= _FIRST_PERSON}
    if Path("/home").is_dir() and os.access("/home", os.R_OK | os.X_OK):
        homes.update(Path("/home").iterdir())
    for home in sorted(homes):
        # not a directory above the own home, nor a part of the system such as / or /nonexistent
        if len(home.parts) > 2 and home.is_dir() and not own.is_relative_to(home):
            yield home
