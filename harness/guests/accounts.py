"""Users of a root file system, from its passwd(5)."""

from __future__ import annotations

from dataclasses import dataclass

from foothold_lab.harness.model.errors import UsageError


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
        raise UsageError(
            f"--user {user}: the root file system of the guest has no such user",
            f"give the number of a user, or bring a passwd that has {user}: --file /etc/passwd",
        )
    return Account(int(user), int(user))
