"""A Debian archive for tests: packages made here, indexes signed with a key made here, and a mirror
on a port of loopback that can misbehave.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.server
import io
import lzma
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.images.apt import Deb

SUITE = "bookworm"


def missing_tool() -> str | None:
    """Return the name of a tool that this machine lacks to make an archive, None if it has all."""
    return next((tool for tool in ("gpg", "gpgconf") if not shutil.which(tool)), None)


def file(name: str, data: bytes = b"", mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    """Return a regular file of a package."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    return info, data


def special(name: str, kind: bytes, link: str = "", size: int = 0) -> tuple[tarfile.TarInfo, bytes]:
    """Return another member of a package: a link, a device, a FIFO. `kind` is a type of tarfile."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info, b""


def package(members: Sequence[tuple[tarfile.TarInfo, bytes]], control: str) -> bytes:
    """Return a Debian package; deb(5)."""

    def archive(contents: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for info, data in contents:
                # a member whose header promises more bytes than follow
                tar.fileobj.write(info.tobuf()) if info.size > len(data) else tar.addfile(  # type: ignore[union-attr]
                    info, io.BytesIO(data)
                )
        return out.getvalue()

    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": archive([file("./control", control.encode())]),
        "data.tar.gz": archive(members),
    }
    text = b"!<arch>\n"
    for name, data in parts.items():
        text += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        text += data + b"\n" * (len(data) % 2)
    return text


def deb_of(
    data: bytes, package: str = "base", version: str = "1", architecture: str = "amd64"
) -> Deb:
    """Return what an index says about a package with these bytes."""
    return Deb(
        package=package,
        version=version,
        suite=SUITE,
        file=f"{package}_{version}_{architecture}.deb",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


class Archive:
    """An archive in a directory, with the suite SUITE. The key is in the directory `keys`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys = root / "keys"
        self._gpg = ["gpg", "--homedir", str(root / "gpg"), "--batch", "--quiet"]
        self._debs: dict[str, tuple[Deb, str]] = {}
        (root / "gpg").mkdir(parents=True, mode=0o700)
        (root / "pool").mkdir()
        self.keys.mkdir()
        self._run("--passphrase", "", "--quick-gen-key", "test@example.org", "ed25519", "sign")
        self._run("--export", "--output", str(self.keys / "test.gpg"))

    def close(self) -> None:
        """End the agent of gpg."""
        subprocess.run(
            ["gpgconf", "--homedir", self.root / "gpg", "--kill", "all"], check=True, timeout=30
        )

    def add(
        self,
        name: str,
        members: Sequence[tuple[tarfile.TarInfo, bytes]] = (),
        *,
        version: str = "1.0",
        architecture: str = "amd64",
        depends: str = "",
    ) -> Deb:
        """Add a package. Another version of it is removed from the index, not from the pool."""
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: t <t@t>\n"
            "Description: test\n"
        )
        control += f"Depends: {depends}\n" if depends else ""
        members = members or [file(f"./usr/share/{name}/version", version.encode())]
        data = package(members, control)
        place = f"pool/{name}_{version}_{architecture}.deb"
        (self.root / place).write_bytes(data)
        deb = deb_of(data, name, version, architecture)
        entry = f"{control}Filename: {place}\nSize: {len(data)}\nSHA256: {deb.sha256}\n"
        self._debs[name] = (deb, entry)
        return deb

    def publish(
        self,
        *,
        age: float = 0,
        valid: float | None = None,
        architectures: Sequence[str] = ("amd64",),
    ) -> None:
        """Write and sign the indexes, each with all packages. Age, and the time after it for which
        they are valid, in seconds.
        """
        packages = "\n".join(text for _, text in self._debs.values()).encode()
        packed = lzma.compress(packages)
        date = time.time() - age
        lines = [
            "Origin: Debian", "Label: Debian", f"Suite: {SUITE}", f"Codename: {SUITE}",
            f"Date: {_date(date)}", f"Architectures: {' '.join(architectures)}",
            "Components: main", "SHA256:",
        ]  # fmt: skip
        for architecture in architectures:
            place = f"main/binary-{architecture}"
            folder = self.root / "dists" / SUITE / place
            folder.mkdir(parents=True, exist_ok=True)
            for name, data in (("Packages", packages), ("Packages.xz", packed)):
                (folder / name).write_bytes(data)
                lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {place}/{name}")
        if valid is not None:
            lines.insert(5, f"Valid-Until: {_date(date + valid)}")
        release = self.root / "dists" / SUITE / "Release"
        release.write_text("\n".join(lines) + "\n")
        signed = release.with_name("InRelease")
        signed.unlink(missing_ok=True)
        self._run("--output", str(signed), "--clearsign", str(release))

    def _run(self, *argv: str) -> None:
        subprocess.run(
            [*self._gpg, *argv], check=True, timeout=60, stdin=subprocess.DEVNULL,
            capture_output=True,
        )  # fmt: skip


def _date(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%a, %d %b %Y %H:%M:%S UTC")


# answers a request in its own way and returns True, or returns False: the file is sent
Fault = Callable[[http.server.BaseHTTPRequestHandler], bool]


def _no_fault(_: http.server.BaseHTTPRequestHandler) -> bool:
    return False


@dataclass
class Mirror:
    """A web server for an archive. `fault` may change while it runs."""

    archive: Archive
    url: str = ""
    fault: Fault = _no_fault
    requests: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def hangs(self, part: str) -> None:
        """Never answer requests whose path contains this text."""

        def fault(request: http.server.BaseHTTPRequestHandler) -> bool:
            if part not in request.path:
                return False
            self.released.wait()
            return True

        self.fault = fault

    def answers_together(self, part: str, count: int) -> None:
        """Answer requests whose path contains this text when so many of them are there."""
        together = threading.Barrier(count)

        def fault(request: http.server.BaseHTTPRequestHandler) -> bool:
            if part in request.path:
                together.wait(timeout=30)
            return False

        self.fault = fault

    def sends(self, part: str, data: bytes, *, status: int = 200, length: int = -1) -> None:
        """Answer requests whose path contains this text with these bytes. `length` is the length
        in the header, if it is not the true one.
        """

        def fault(request: http.server.BaseHTTPRequestHandler) -> bool:
            if part not in request.path:
                return False
            request.send_response(status)
            request.send_header("Content-Length", str(len(data) if length < 0 else length))
            request.end_headers()
            request.wfile.write(data)
            request.close_connection = True
            return True

        self.fault = fault


@contextlib.contextmanager
def serve(archive: Archive) -> Iterator[Mirror]:
    """Serve an archive on a free port of loopback."""
    mirror = Mirror(archive)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.requests.append(self.path)
            with contextlib.suppress(ConnectionError):
                if not mirror.fault(self):
                    self._send(archive.root / self.path.lstrip("/"))

        def _send(self, place: Path) -> None:
            if not place.is_file():
                self.send_error(404)
                return
            data = place.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET

    with Server(("127.0.0.1", 0), Handler) as server:
        mirror.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield mirror
        finally:
            mirror.released.set()
            server.shutdown()
            thread.join()
