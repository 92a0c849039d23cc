"""A real OpenSSH server for the tests: Debian's, on a port of the loopback interface that the kernel
chooses, for one user whom only this server knows, with keys that are made for the test.

The server runs as that user, so it needs no root and can do nothing that the user cannot do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.harness.model.ssh_address import SshAddress
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.builder import Builder
from foothold_lab.images.recipes import Materials, Recipe, loader

USER = "pi"
UID = 54321  # if the tests run as root; no account of a machine has it
_LIBRARIES = (
    "libc6", "libwrap0", "libnsl2", "libtirpc3", "libpam0g", "libselinux1", "libaudit1", "libcap-ng0",
    "libsystemd0", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0", "libcom-err2",
    "libkeyutils1", "libcrypt1", "libssl3", "zlib1g", "libpcre2-8-0", "libpcre2-32-0", "libtinfo6",
    r"libstdc\+\+6", "libgcc-s1", "liblzma5", "libzstd1", "liblz4-1", "libgcrypt20", "libgpg-error0",
    "libcap2",
)  # fmt: skip
_PROGRAMS = ("openssh-server", "openssh-client", "libnss-wrapper", "fish", "tcsh")
_PACKAGES = PackageSet(suite="bookworm", packages=_PROGRAMS, only=(*_PROGRAMS, *_LIBRARIES))


def _make(materials: Materials, out: Path) -> None:
    shutil.copytree(materials.packages, out, symlinks=True, dirs_exist_ok=True)


_RECIPE = Recipe(name="openssh-for-tests", make=_make, packages=_PACKAGES)


class OpenSsh:
    """The programs of OpenSSH, and shells, in a directory that every user can read."""

    def __init__(self, builder: Builder, directory: Path) -> None:
        tree = Builder(builder.cache, recipes={_RECIPE.name: _RECIPE}).image(_RECIPE.name)
        self.directory = directory
        self._root = directory / "openssh"
        shutil.copytree(tree, self._root, symlinks=True)
        library = [self._root / "lib/x86_64-linux-gnu", self._root / "usr/lib/x86_64-linux-gnu"]
        ld_so = loader(self._root, _RECIPE.port)
        self._start = (str(ld_so), "--library-path", ":".join(map(str, library)))
        self.wrapper = next(self._root.rglob("libnss_wrapper.so"))

    def command(self, path: str, *words: str) -> list[str]:
        """The command line of a program of the packages."""
        return [*self._start, str(self._root / path), *words]

    def shell(self, path: str, directory: Path) -> Path:
        """A file that can be the login shell of a user."""
        file = directory / Path(path).name
        file.write_text(f'#!/bin/sh\nexec {" ".join(self.command(path))} "$@"\n')
        file.chmod(0o755)
        return file


@dataclass
class SshServer:
    """A server for one user.

    home: the home of the user there. own: a home of the user here, with `.ssh`. temporary: the
    directory for temporary files there.
    """

    openssh: OpenSsh
    home: Path
    own: Path
    temporary: Path
    uid: int
    port: int = 0
    relayed: bool = False
    frozen: threading.Event = field(default_factory=threading.Event)
    connections: list[socket.socket] = field(default_factory=list)
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> SshAddress:
        return SshAddress("127.0.0.1", USER, self.port)

    @property
    def guest(self) -> str:
        """The name of the guest."""
        return str(self.address)

    @property
    def environment(self) -> dict[str, str]:
        """That of Foothold: with a home of its own, and without an SSH agent."""
        kept = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
        return kept | {"HOME": str(self.own)}

    def left(self) -> list[str]:
        """What is left on the machine: files, and processes other than those of the server."""
        files = [str(path) for path in self.temporary.iterdir()]
        return files + [line for line in self.processes() if "sshd" not in line]

    def processes(self) -> list[str]:
        """The command lines of all processes of the user of the server."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                inside = str(self.home) in (path / "environ").read_bytes().decode(errors="replace")
                if path.stat().st_uid in (self.uid, 0) and inside:
                    line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if line and "libnss" not in line:
                        found.append(f"{path.name} {line}")
        return found

    def cut(self) -> None:
        """End all connections, as a cable that is pulled does at last."""
        for each in self.connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def serve(self, config: Path, listener: socket.socket) -> None:
        """Start a server for each connection, until the listener is closed."""
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            theirs = self._relay(line) if self.relayed else line
            self.servers.append(self._start(config, theirs))
            theirs.close()

    def _start(self, config: Path, line: socket.socket) -> subprocess.Popen[bytes]:
        argv = self.openssh.command("usr/sbin/sshd", "-i", "-r", "-e", "-f", str(config))
        with (self.home.parent / "sshd.log").open("ab") as log:
            return subprocess.Popen(
                argv, stdin=line, stdout=line, stderr=log, cwd=self.home, start_new_session=True,
                env=_nss(self.openssh, self.home.parent) | {"PATH": "/usr/bin:/bin", "HOME": str(self.home)},
                **_as_user(self.uid),
            )  # fmt: skip

    def _relay(self, line: socket.socket) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.connections += [line, ours]
        for source, target in ((line, ours), (ours, line)):
            threading.Thread(target=self._pump, args=(source, target), daemon=True).start()
        return theirs

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.frozen.is_set():
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def _nss(openssh: OpenSsh, directory: Path) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(openssh.wrapper),
        "NSS_WRAPPER_PASSWD": str(directory / "passwd"),
        "NSS_WRAPPER_GROUP": str(directory / "group"),
    }


def _as_user(uid: int) -> Mapping[str, object]:
    return {"user": uid, "group": uid, "extra_groups": ()} if uid != os.geteuid() else {}


@contextlib.contextmanager
def ssh_server(
    openssh: OpenSsh,
    *,
    shell: str = "/bin/sh",
    relayed: bool = False,
    tmpdir: str = "",
    path: str = "/usr/bin:/bin",
    options: str = "",
) -> Iterator[SshServer]:
    """Run a server. `shell` is the login shell of its user; `tmpdir` and `path` are TMPDIR and PATH
    there, `options` a line of sshd_config(5). A server that is `relayed` can be cut off.
    """
    uid = UID if os.geteuid() == 0 else os.geteuid()
    with tempfile.TemporaryDirectory(prefix="foothold-ssh-") as name:
        place = Path(name)
        place.chmod(0o755)
        folders = [place / each for each in ("home", "home/.ssh", "tmp", "own", "own/.ssh")]
        for folder in folders:
            folder.mkdir(mode=0o700)
        home, _, temporary, own, _ = folders
        server = SshServer(openssh, home, own, temporary, uid, relayed=relayed)
        (place / "passwd").write_text(f"{USER}:x:{uid}:{uid}::{home}:{shell}\n")
        (place / "group").write_text(f"{USER}:x:{uid}:\n")
        for key in (own / ".ssh/id_ed25519", place / "host"):
            make_key(openssh, key)
        shutil.copy(own / ".ssh/id_ed25519.pub", home / ".ssh/authorized_keys")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server.port = listener.getsockname()[1]
            trust(server, place / "host.pub")
            config = place / "sshd_config"
            config.write_text(
                f"HostKey {place}/host\nAuthorizedKeysFile {home}/.ssh/authorized_keys\n"
                "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
                f"SetEnv TMPDIR={tmpdir or temporary} PATH={path}\nSubsystem sftp internal-sftp\n{options}\n"
            )
            for path in (
                place / "host",
                home,
                home / ".ssh",
                home / ".ssh/authorized_keys",
                temporary,
            ):
                os.chown(path, uid, uid)
            thread = threading.Thread(target=server.serve, args=(config, listener), daemon=True)
            thread.start()
            try:
                yield server
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                server.cut()
                for each in server.servers:
                    each.terminate()
                    each.wait(10)
                thread.join(10)


def make_key(openssh: OpenSsh, path: Path) -> None:
    """Make a key without a passphrase."""
    argv = openssh.command("usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    passwd = Path("/etc/passwd").read_text()  # ssh-keygen asks for the name of its user
    environment = {"NSS_WRAPPER_PASSWD": "/etc/passwd"} if passwd else {}
    subprocess.run(argv, check=True, env=environment, capture_output=True)


def trust(server: SshServer, public: Path) -> None:
    """Make a host key the known one of the server."""
    kind, key, *_ = public.read_text().split()
    (server.own / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
