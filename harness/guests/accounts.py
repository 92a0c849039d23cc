"""Users of a root file system, from its passwd(5)."""

from __future__ import annotations

from dataclasses import dataclass

from foothold_lab.harness.transport.frames import unknown_user


@dataclass(frozen=True)
class Account:
    """A user. A number without an entry in passwd has neither name nor home, and is its own group."""

    uid: int
    gid: int
    name: str = ""
    home: str = ""


def find_account(passwd: str, user: str) -> Account:
    """Return the user of a name or number in the text of a passwd(5).

    Raises UsageError for a name that has no entry.
    """
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and user in (fields[0], fields[2]):
            name, _, uid, gid, _, home, _ = fields
            return Account(int(uid), int(gid), name, home)
    if not user.isdecimal():
        raise unknown_user(user)
    return Account(int(user), int(user))
