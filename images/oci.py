"""A container image with Foothold, its Python and the images of guests: nothing is pulled for it.

It starts from nothing: our root file system, and the layers below /opt/foothold. The archive can be
loaded by `docker load` and `podman load` (it has the index of the OCI image layout and the manifest
of `docker save`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from foothold_lab.images.builder import Builder
from foothold_lab.images.compiler import CLANG
from foothold_lab.images.errors import ImageError
from foothold_lab.images.manifest import MANIFEST
from foothold_lab.images.transfer import stage

PACKAGE = Path(__file__).parents[1]  # the folders of foothold_lab
PYTHON = "python"  # the image with the interpreter
PYTHON_VERSION = "3.13"  # its version
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
HOME = Path("/opt/foothold")
STORE, LIBRARY = HOME / "cache", HOME / "python"
INTERPRETER = HOME / "bin/python3"  # a link to that of the store, whose path has a hash
# what changes most often comes last: engines keep the layers before it
LAYERS = ("root", "packages", "images", "foothold")
_STATE = "/var/lib/foothold"
_WORK = "/w"
# what compiled packages of Python, and many programs of users, are linked with
_SHARED = (
    "libdl.so.2", "libgcc_s.so.1", "libpthread.so.0", "libresolv.so.2", "librt.so.1", "libstdc++.so.6",
    "libutil.so.1",
)  # fmt: skip
_LIBRARIES = "lib/x86_64-linux-gnu"
_WRITABLE = ("", "store", "building", "locks")  # of the store: `docker run --user` adds snapshots
_FOLDERS = ("allocator", "harness", "images", "plans")
_TAR = "application/vnd.oci.image.layer.v1.tar"
_SECONDS = 600  # for pip


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: its name, a tree, and where it lies in the image.

    times: whether files keep the time of their change, as the manifests of a store have it.
    """

    name: str
    tree: Path
    at: str = ""
    times: bool = False


def settings() -> Mapping[str, Any]:
    """Return how a container of the image starts; the keys are those of the OCI image specification."""
    return {
        "Entrypoint": [str(INTERPRETER), "-m", "foothold_lab.harness.cli"],
        "WorkingDir": _WORK,
        "Env": [
            "PATH=/usr/bin:/bin", "HOME=/root", f"PYTHONPATH={LIBRARY}", "PYTHONDONTWRITEBYTECODE=1",
            f"FOOTHOLD_CACHE={STORE}", f"XDG_STATE_HOME={_STATE}", "FOOTHOLD_PROGRAM=foothold",
            "FOOTHOLD_UNCONFINED=1",  # the container confines: it refuses the namespaces for that
        ],
    }  # fmt: skip


def write(builder: Builder, names: Iterable[str], file: Path, tag: str) -> int:
    """Write the archive of an image that has the images with these names; return its size in bytes.

    Raises ImageError if a package of Python cannot be downloaded.
    """
    with builder.cache.staging() as scratch:
        layers = _lay_out(builder, names, scratch)
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with fresh.open("xb") as out:
                _write_archive(out, layers, settings(), tag, scratch)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
    return file.stat().st_size


def write_layers(builder: Builder, names: Iterable[str], directory: Path) -> None:
    """Write the layers as tar files, and a Containerfile that makes the image of them."""
    directory.mkdir(parents=True, exist_ok=True)
    with builder.cache.staging() as scratch:
        for layer in _lay_out(builder, names, scratch):
            with (directory / f"{layer.name}.tar").open("wb") as file:
                write_layer(file, layer)
    (directory / "Containerfile").write_text(containerfile())


def containerfile() -> str:
    """Return a Containerfile that makes an image of the layers, and starts it as the archive does."""
    how = settings()
    lines = ["FROM scratch", *(f"ADD {name}.tar /" for name in LAYERS)]
    lines += [f"ENV {variable}" for variable in how["Env"]]
    lines += [f"WORKDIR {how['WorkingDir']}", f"ENTRYPOINT {json.dumps(how['Entrypoint'])}"]
    return "\n".join(lines) + "\n"


def _lay_out(builder: Builder, names: Iterable[str], scratch: Path) -> list[Layer]:
    """Fill the trees of the layers, and return them."""
    root, packages, store, foothold = (scratch / name for name in LAYERS)
    shutil.copytree(builder.image("root"), root, symlinks=True)
    (root / MANIFEST).unlink()
    for name in _SHARED:
        [found] = builder.image(CLANG).rglob(name)
        shutil.copy2(found.resolve(), root / _LIBRARIES / name)
    for path in (_WORK, _STATE, "/tmp"):
        (root / path[1:]).mkdir(parents=True, exist_ok=True)
        (root / path[1:]).chmod(0o1777)
    _install_packages(packages)
    _copy_foothold(foothold / "foothold_lab")
    moved = stage(builder, {*names, PYTHON, "root", "strace"}, STORE, store)
    for folder in _WRITABLE:
        (store / folder).mkdir(exist_ok=True)
        (store / folder).chmod(0o1777)
    link = root / str(INTERPRETER)[1:]
    link.parent.mkdir(parents=True)
    link.symlink_to(STORE / "store" / moved[PYTHON] / "usr/bin/python3")
    return [
        Layer(name="root", tree=root),
        Layer(name="packages", tree=packages, at=str(LIBRARY)),
        Layer(name="images", tree=store, at=str(STORE), times=True),
        Layer(name="foothold", tree=foothold, at=str(LIBRARY)),
    ]


def _copy_foothold(package: Path) -> None:
    """Copy this Foothold, without what Python made of it."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in _FOLDERS:
        shutil.copytree(PACKAGE / folder, package / folder, ignore=ignored)
    for file in PACKAGE.glob("*.py"):
        shutil.copy2(file, package)


def _install_packages(library: Path) -> None:
    """Install the packages that Foothold depends on, for the Python of the image."""
    argv = [
        sys.executable, "-m", "pip", "install", "-q", "--target", str(library), "--only-binary=:all:",
        "--python-version", PYTHON_VERSION, "--implementation", "cp", "--no-compile",
        *(f"--platform={each}" for each in PLATFORMS), *_dependencies(),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise ImageError(
            f"the packages of Python cannot be installed: {done.stderr.strip().splitlines()[-1]}",
            "is the package index reachable, and does this Python have pip?",
        )


def _dependencies() -> list[str]:
    """Return what this Foothold depends on, as its metadata says."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        every = requires("foothold-lab") or []
    except PackageNotFoundError as error:
        raise ImageError("Foothold is not installed", "install it with pip") from error
    return [each for each in every if "extra ==" not in each]


def _write_archive(
    out: IO[bytes], layers: list[Layer], how: Mapping[str, Any], tag: str, scratch: Path
) -> None:
    digests = []
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, layer in enumerate(layers):
            tar = scratch / f"layer-{number}.tar"
            with tar.open("wb") as file:
                write_layer(file, layer)
            digests.append((_digest(tar), tar.stat().st_size))
            archive.add(tar, f"blobs/sha256/{digests[-1][0]}", filter=_anonymous)
            tar.unlink()
        config = _json({
            "architecture": "amd64", "os": "linux", "config": how,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each, _ in digests]},
        })  # fmt: skip
        manifest = _json({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [
                {"mediaType": _TAR, "digest": f"sha256:{each}", "size": size} for each, size in digests
            ],
        })  # fmt: skip
        described = _descriptor(manifest, "application/vnd.oci.image.manifest.v1+json")
        name = {"annotations": {"org.opencontainers.image.ref.name": tag}}
        for path, content in {
            f"blobs/sha256/{hashlib.sha256(config).hexdigest()}": config,
            f"blobs/sha256/{hashlib.sha256(manifest).hexdigest()}": manifest,
            "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
            "index.json": _json({"schemaVersion": 2, "manifests": [described | name]}),
            "manifest.json": _json([{
                "Config": f"blobs/sha256/{hashlib.sha256(config).hexdigest()}", "RepoTags": [tag],
                "Layers": [f"blobs/sha256/{each}" for each, _ in digests],
            }]),
        }.items():  # fmt: skip
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_layer(file: IO[bytes], layer: Layer) -> None:
    """Write a layer as a tar file. The same tree gives the same bytes."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        at = layer.at.lstrip("/")
        parents = Path(at).parts
        for depth in range(1, len(parents) + 1 if at else 0):
            info = tarfile.TarInfo("/".join(parents[:depth]))
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for path in _sorted(layer.tree):
            name = str(Path(at) / path.relative_to(layer.tree))
            info = _anonymous(tar.gettarinfo(path, name))
            if info.isfile():
                if layer.times:  # to the nanosecond
                    info.pax_headers = {"mtime": _seconds(path.stat().st_mtime_ns)}
                with path.open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)


def _sorted(tree: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(tree), key=lambda each: each.name):
        yield Path(entry)
        if entry.is_dir(follow_symlinks=False):
            yield from _sorted(Path(entry))


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    if info.islnk():  # files of the store share their content with none
        raise ImageError(f"{info.name} is a hard link", "report this")
    return info


def _descriptor(content: bytes, media: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": media, "digest": digest, "size": len(content)}


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
