"""A program in a container: what the engine sends, as soon as it sends it."""

from __future__ import annotations

import http.server
import json
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.transport.container import ExecStream


def part(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxI", kind, len(payload)) + payload


class Engine(socketserver.ThreadingUnixStreamServer):
    """Starts a program whose first output comes with the head of the answer, in one packet."""

    daemon_threads = True
    first = b""
    later = b""


class Answer(http.server.BaseHTTPRequestHandler):
    server: Engine

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/start"):
            head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            self.connection.sendall(head + self.server.first)
            self.connection.sendall(self.server.later)
            self.close_connection = True
            return
        body = json.dumps({"Id": "program"}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[Engine, docker.APIClient]]:
    path = tmp_path / "docker.sock"
    with Engine(str(path), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = docker.APIClient(f"unix://{path}", version="1.41")
        yield server, client
        client.close()
        server.shutdown()


FIRST = (b"", part(1, b"{"), part(1, b"{") + part(2, b"error"), part(1, b"{")[:5])


@pytest.mark.parametrize("first", FIRST)
def test_nothing_is_lost_of_what_comes_with_the_answer(
    first: bytes, engine: tuple[Engine, docker.APIClient]
) -> None:
    server, client = engine
    whole = part(1, b"{") + part(2, b"error") + part(1, b'"a": 1}')
    server.first, server.later = first, whole[len(first) :]
    stream = ExecStream(client, "container", ["/agent", "facts"])
    received = b""
    while data := stream.receive(Deadline.after(20)):
        received += data
    assert (received, stream.complaint()) == (b'{"a": 1}', "error")
    stream.close()
