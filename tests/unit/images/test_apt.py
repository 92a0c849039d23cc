"""apt with a mirror that cannot be reached: the error of the connection, and no false index."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foothold_lab.images import apt, own_apt
from foothold_lab.images.apt import Apt, PackageSet
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError

WANTED = PackageSet(suite="bookworm", packages=("busybox-static",))

pytestmark = pytest.mark.skipif(
    not own_apt.host_has_apt(), reason="this machine cannot use Debian packages"
)


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "TIMEOUT", 1)
    monkeypatch.setattr(apt, "RETRIES", 0)


@contextmanager
def refusing_mirror() -> Iterator[str]:
    """A port on loopback that is bound but does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/debian"


@contextmanager
def hanging_mirror(connections: list[socket.socket]) -> Iterator[str]:
    """A server on loopback that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connections.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/debian"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


def known_index(root: Path, mirror: str) -> Path:
    """Make the cache look as after a download of the index a day ago. Returns the stamp."""
    state = root / "apt/bookworm-amd64"
    state.mkdir(parents=True)
    source = f"deb {mirror} bookworm main\n"
    (state / "sources.list").write_text(source)
    stamp = state / "updated"
    stamp.touch()
    os.utime(stamp, times=(time.time() - 86400,) * 2)
    return stamp


def test_a_refused_connection_is_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_mirror() as mirror:
        monkeypatch.setenv("FOOTHOLD_MIRROR", mirror)
        with pytest.raises(ImageError, match="apt-get update of bookworm/amd64 failed") as error:
            Apt(Cache(tmp_path)).resolve(WANTED)
    assert "Connection refused" in str(error.value)
    assert mirror in error.value.remedy
    assert not list(tmp_path.rglob("updated"))


def test_a_silent_mirror_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[socket.socket] = []
    with hanging_mirror(connections) as mirror:
        monkeypatch.setenv("FOOTHOLD_MIRROR", mirror)
        started = time.monotonic()
        with pytest.raises(ImageError, match=r"Connection (failed|timed out)"):
            Apt(Cache(tmp_path)).resolve(WANTED)
        assert time.monotonic() - started < 20
    assert connections
    assert not list(tmp_path.rglob("updated"))


def test_a_failed_update_keeps_the_age_of_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[socket.socket] = []
    messages: list[str] = []
    with hanging_mirror(connections) as mirror:
        monkeypatch.setenv("FOOTHOLD_MIRROR", mirror)
        stamp = known_index(tmp_path, mirror)
        before = stamp.stat().st_mtime
        for _ in range(2):  # two processes: each tries the mirror again
            with pytest.raises(ImageError, match="Unable to locate package"):
                Apt(Cache(tmp_path), lambda what, **_: messages.append(what)).resolve(WANTED)
        assert stamp.stat().st_mtime == before
    assert len(connections) >= 2
    assert sum("using the index of the last download" in line for line in messages) == 2


def test_one_process_asks_an_unreachable_mirror_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    with refusing_mirror() as mirror:
        monkeypatch.setenv("FOOTHOLD_MIRROR", mirror)
        known_index(tmp_path, mirror)
        one = Apt(Cache(tmp_path), lambda what, **_: messages.append(what))
        for _ in range(2):
            with pytest.raises(ImageError, match="Unable to locate package"):
                one.resolve(WANTED)
    assert sum(line.startswith("downloading the package index") for line in messages) == 1
