r"""The first command on a machine that is reached by SSH: what it is, and where our files can be.

The command makes a directory of mode 0700 in the first place where programs can be executed, receives
the agent, and becomes `agent session` (images/agent/session.h), which removes the directory at the
end. If anything fails before, the command removes the directory itself.

The shell of the user reads the command line, and it may be any shell: so the command is one word in
single quotes, without characters that a shell changes there (csh: `!` and line breaks; fish: `\`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from foothold_lab.harness.model.errors import GuestError, UnsupportedError
from foothold_lab.harness.model.escape import escape_line
from foothold_lab.harness.model.findings import Code

ELF_HEAD = 20  # bytes of an ELF file up to e_machine: elf(5)
OLDEST_PYTHON = 11  # the minor version of Python 3 that the allocator needs
MOST_FACTS = 8 << 10  # bytes of what the command prints before its end

_SIMPLE = r"(/[A-Za-z0-9._+@-]+)*"  # a path that means the same in every shell
_PYTHONS = " ".join(f"python3.{minor}" for minor in range(19, OLDEST_PYTHON - 1, -1))
_PLACES = '"$TMPDIR" /tmp /var/tmp "$XDG_RUNTIME_DIR" "$HOME" /dev/shm'
# An empty file that is executable shows whether the file system lets programs be executed: the shell
# runs it as a script.
_SCRIPT = (
    't=TOKEN; echo; echo "ready $t"; echo "kernel $(uname -sr)"; echo "machine $(uname -m)"; '
    f"d=; for p in {_PLACES}; do "
    'test -d "$p" || continue; d="$p/foothold-$t"; '
    'mkdir -m 700 "$d" 2>/dev/null || { echo "unwritable $p"; d=; continue; }; '
    ': >"$d/agent"; chmod 700 "$d/agent"; "$d/agent" 2>/dev/null && break; '
    'echo "noexec $p"; rm -f "$d/agent"; rmdir "$d"; d=; done; echo "directory $d"; '
    f"q=; for p in {_PYTHONS} python3; do command -v $p >/dev/null && q=$p && break; done; "
    'test -z "$q" || echo "python $(readlink -f "$(command -v $q)")"; echo "user $(id -u)"; '
    'echo "end $t"; '
    f'head -c {ELF_HEAD} </proc/$$/exe; test -n "$d" || exit 1; read n; '
    'head -c $n >"$d/agent"; if test "$(wc -c <"$d/agent")" -eq "$n" && '
    '"$d/agent" probe >/dev/null; then exec "$d/agent" session $t SECONDS; fi; '
    'echo; echo "failed $t"; rm -f "$d/agent"; rmdir "$d"'
)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a machine says of itself.

    kernel: its name and release. kernel_machine: as `uname -m` prints it. user_machine: that of its
    user space, named as by `images.elf`; empty if unknown.
    directory: ours there. python: the path of its Python, empty if it has none that is new enough.
    user_id: that of the user there.
    refused: directories that were tried before, each with the reason.
    """

    kernel: str
    kernel_machine: str
    user_machine: str
    directory: str
    python: str
    user_id: int
    refused: tuple[str, ...] = ()


def probe_command(token: str, seconds: int) -> str:
    """Return the command line for the shell of the user.

    `token` marks what the command prints and names the directory. The session ends when the harness
    is silent for `seconds`.
    """
    script = _SCRIPT.replace("TOKEN", token).replace("SECONDS", str(seconds))
    return f"exec sh -c '{script}'"


def parse_machine(text: bytes, user_machine: str, token: str, name: str) -> Machine:
    """Read what the command with this token has printed, without trust. `user_machine` is in the bytes behind it.

    Raises UnsupportedError if no directory can be used, GuestError for anything else than facts.
    """
    lines = text.decode(errors="replace").splitlines()
    pairs = [(key, value.strip()) for key, _, value in (line.partition(" ") for line in lines)]
    facts = dict(pairs)
    refused = tuple(f"{value} ({key})" for key, value in pairs if key in ("noexec", "unwritable"))
    directory = facts.get("directory", "")
    if not directory:
        tried = ", ".join(map(escape_line, refused)) or "there is no directory for temporary files"
        raise UnsupportedError(
            f"{name} has no directory where programs can be written and executed: {tried}",
            "set TMPDIR there, in a file that the login shell reads, to a directory on a file system "
            "that is not mounted noexec",
        )
    parent, _, own = directory.rpartition("/")
    simple = directory[0] == "/" and ".." not in parent and re.fullmatch(_SIMPLE, parent)
    if not simple or own != f"foothold-{token}":
        raise UnsupportedError(
            f"{name}: the path {escape_line(directory)} has characters that shells may change",
            "set TMPDIR there to a directory with a simple name",
        )
    if not facts.get("user", "").isdecimal():
        raise GuestError(f"{name} does not say what it is", code=Code.GUEST_PROTOCOL)
    return Machine(
        kernel=facts.get("kernel", ""),
        kernel_machine=facts.get("machine", ""),
        user_machine=user_machine,
        directory=directory,
        python=_usable_python(facts.get("python", "")),
        user_id=int(facts["user"]),
        refused=refused,
    )


def _usable_python(path: str) -> str:
    """Return the path of a Python whose name says that it is new enough; else nothing."""
    version = re.fullmatch(r"python3\.(\d{1,3})", PurePosixPath(path).name)
    usable = version and int(version[1]) >= OLDEST_PYTHON and path.startswith("/")
    return path if usable else ""
