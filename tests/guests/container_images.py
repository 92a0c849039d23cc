"""Container images for tests, made here: no registry is needed."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.host_compiler import host_compiler

_MEDIA = "application/vnd.docker"
_MANIFEST = f"{_MEDIA}.distribution.manifest.v2+json"
# A program for musl without its headers: it is linked with the library of the image itself.
_MUSL_PROGRAM = """
int __libc_start_main(int (*)(int, char **), int, char **, void (*)(void), void (*)(void), void (*)(void));
void *mmap(void *, unsigned long, int, int, int, long);
int puts(const char *);
static void nothing(void) {}
static int run(int argc, char **argv)
{
	char *heap = mmap((void *)0xf800000000, 64 << 20, 3, 0x4022, -1, 0);
	if (heap != (char *)0xf800000000)
		return 9;
	heap[0] = 1;
	return puts("started with musl") < 0;
}
void begin(long *stack)
{
	__libc_start_main(run, (int)stack[0], (char **)(stack + 1), nothing, nothing, nothing);
}
__asm__(".globl _start\\n_start: xor %ebp,%ebp; mov %rsp,%rdi; and $-16,%rsp; call begin");
"""


def musl_files(directory: Path) -> Mapping[str, Path]:
    """Return the files of an image with musl and one program. Raises CalledProcessError."""
    subprocess.run(["apt-get", "download", "-qq", "musl"], cwd=directory, check=True)
    [package] = directory.glob("musl_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, directory], check=True)
    [library] = directory.glob("**/x86_64-linux-musl/libc.so")
    source, program = directory / "musl.c", directory / "program"
    source.write_text(_MUSL_PROGRAM)
    loader = "/lib/ld-musl-x86_64.so.1"
    flags = ["-O1", "-w", "-nostdlib", "-fno-stack-protector", f"-Wl,--dynamic-linker={loader}"]
    subprocess.run(
        [*host_compiler(), *flags, "-o", program, source, "-L", library.parent, "-l:libc.so"],
        check=True,
    )
    return {loader: library, "/lib/libc.so": library, "/usr/bin/program": program}


def image_archive(
    name: str, files: Mapping[str, Path], settings: Mapping[str, object], architecture: str
) -> bytes:
    """Return an image of one layer as `docker load` takes it: Docker Image Specification v1.2."""
    layer = _tar({path[1:]: source.read_bytes() for path, source in files.items()})
    config = _config(layer, settings, architecture)
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": config,
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


def load_image(
    client: Any,
    name: str,
    files: Mapping[str, Path],
    settings: Mapping[str, object] | None = None,
    architecture: str = "amd64",
) -> str:
    """Give an engine an image of these files. Returns its name."""
    client.images.load(image_archive(name, files, settings or {}, architecture))
    return name


@dataclass(frozen=True)
class Registry:
    """A registry on the loopback interface that has one image.

    name: of the image; digest: that of its manifest; requested: the paths that the engine requested.
    """

    name: str
    digest: str
    requested: list[str]


@contextlib.contextmanager
def registry(files: Mapping[str, Path]) -> Iterator[Registry]:
    """Serve an image as the Docker Registry HTTP API V2 does. Engines use HTTP on 127.0.0.1."""
    layer = _tar({path[1:]: source.read_bytes() for path, source in files.items()})
    packed = gzip.compress(layer, 1)
    config = _config(layer, {}, "amd64")
    kinds = ("container.image.v1+json", "image.rootfs.diff.tar.gzip")
    described = [
        {"mediaType": f"{_MEDIA}.{kind}", "size": len(blob), "digest": f"sha256:{_hash(blob)}"}
        for kind, blob in zip(kinds, (config, packed), strict=True)
    ]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
    ).encode()
    digest = f"sha256:{_hash(manifest)}"
    blobs = {f"blobs/sha256:{_hash(blob)}": blob for blob in (config, packed)}
    served = {**blobs, "manifests/latest": manifest, f"manifests/{digest}": manifest}
    requested: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            requested.append(self.path)
            name = "/".join(self.path.split("/")[-2:])
            found = b"{}" if self.path == "/v2/" else served.get(name)
            self.send_response(200 if found is not None else 404)
            kind = _MANIFEST if name.startswith("manifests/") else "application/octet-stream"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(found or b"")))
            if found:
                self.send_header("Docker-Content-Digest", f"sha256:{_hash(found)}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found or b"")

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Registry(f"127.0.0.1:{server.server_port}/served", digest, requested)
        finally:
            server.shutdown()
            thread.join()


def _config(layer: bytes, settings: Mapping[str, object], architecture: str) -> bytes:
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_hash(layer)}"]},
        }
    ).encode()


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
