"""The container image: what is in it, and what a container of it can do in a real engine."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.oci import (
    LAYERS,
    LIBRARY,
    PYTHON,
    PYTHON_VERSION,
    Layer,
    containerfile,
    settings,
    write_layer,
    write_layers,
)
from foothold_lab.images.transfer import stage
from tests.host_compiler import host_compiler

ROOT = Path(__file__).parents[2]
SECONDS = 1800  # of one command; the machine may be busy
SERVER = """
#include <stdio.h>
#include <unistd.h>
int main(void) { puts("listening"); fflush(stdout); pause(); }
"""


@pytest.mark.weekly
def test_a_staged_store_works_at_its_place(builder: Builder, tmp_path: Path) -> None:
    """Programs contain the path of their loader, manifests the times of files: both survive."""
    place, layer = tmp_path / "place", tmp_path / "layer.tar"
    stage(builder, ("strace", "agent", PYTHON), place, tmp_path / "tree")
    with layer.open("wb") as file:
        write_layer(file, Layer(name="images", tree=tmp_path / "tree", at=str(place), times=True))
    with tarfile.open(layer) as tar:
        tar.extractall(tmp_path / "unpacked", filter="tar")
    (tmp_path / "unpacked" / str(place)[1:]).rename(place)
    # a store has one only where a suite has replaced a version that was tested
    assert (place / "lock.json").exists() == (builder.cache.root / "lock.json").exists()
    moved = Builder(Cache(place))
    assert moved.ready("strace")
    assert moved.ready("agent")
    shutil.rmtree(tmp_path / "tree")
    done = subprocess.run(
        [moved.image(PYTHON) / "usr/bin/python3", "-I", "-c", "import sys, ssl, sqlite3; print(sys.version)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"{PYTHON_VERSION}.")


def test_two_archives_of_a_tree_are_equal(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        tree = tmp_path / name
        (tree / "folder").mkdir(parents=True)
        for file in ("b", "a") if name == "two" else ("a", "b"):
            (tree / "folder" / file).write_text("text")
            shutil.copystat(tmp_path / "one/folder" / file, tree / "folder" / file)
        with (tmp_path / f"{name}.tar").open("w+b") as out:
            write_layer(out, Layer(name=name, tree=tree, at="/opt/x"))
        made.append((tmp_path / f"{name}.tar").read_bytes())
    assert made[0] == made[1]


def test_the_containerfile_starts_a_container_as_the_archive_does() -> None:
    how = settings()
    lines = containerfile().splitlines()
    assert lines[0] == "FROM scratch"
    assert [line[4:] for line in lines if line.startswith("ENV ")] == how["Env"]
    assert json.loads(lines[-1].removeprefix("ENTRYPOINT ")) == how["Entrypoint"]
    assert [line.split()[1] for line in lines if line.startswith("ADD ")] == [
        f"{each}.tar" for each in LAYERS
    ]
    # the file of the repository has a comment above it
    own = (ROOT / "Containerfile").read_text()
    assert [line for line in own.splitlines() if not line.startswith("#")] == lines


@pytest.mark.timeout(SECONDS)
@pytest.mark.weekly
def test_layers_are_equal_each_time(builder: Builder, tmp_path: Path) -> None:
    """So an engine downloads and unpacks again only the layers that a change has made different."""
    for name in ("one", "two"):
        write_layers(builder, ["strace"], tmp_path / name)
    for layer in LAYERS:
        assert filecmp.cmp(
            *(tmp_path / each / f"{layer}.tar" for each in ("one", "two")), shallow=False
        ), layer


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An engine that has loaded the image, as `docker load` does."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=SECONDS)
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    archive = tmp_path_factory.mktemp("oci") / "foothold.tar"
    tag = "foothold-test:oci"
    subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", "images", "oci", archive, "--tag", tag],
        check=True, timeout=SECONDS,
    )  # fmt: skip
    with archive.open("rb") as file:
        [image] = client.images.load(file)
    archive.unlink()
    assert tag in image.tags
    yield client
    client.images.remove(tag, force=True)


@pytest.mark.weekly
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("user", ["0", "1000"])
def test_a_container_tests_a_program_without_a_network(
    engine: Any, tmp_path: Path, user: str
) -> None:
    source = tmp_path / "server.c"
    source.write_text(SERVER)
    tmp_path.chmod(0o755)
    subprocess.run([*host_compiler(), "-o", tmp_path / "server", source], check=True)
    container = engine.containers.create(
        "foothold-test:oci",
        ["run", "--subject", "/w/server", "--ready-pattern", "listening", "--require", "uml-7.2"],
        volumes={str(tmp_path): {"bind": "/w", "mode": "rw"}}, network_mode="none", user=user, tmpfs={"/dev/shm": "exec"},
    )  # fmt: skip
    try:
        container.start()
        status = container.wait(timeout=SECONDS)["StatusCode"]
        printed = container.logs().decode()
    finally:
        container.remove(force=True)
    assert status == 0, printed
    for guest in ("native", "uml-7.2", "qemu-x86_64"):
        assert re.search(rf"pass +{guest}/none/server", printed), printed
    assert "downloading" not in printed
    # what it cannot do there, it says
    assert "docker: unsupported: no Docker engine answers" in printed


@pytest.mark.weekly
@pytest.mark.timeout(2 * SECONDS)
def test_a_build_makes_the_layers_again_from_the_changed_one_on(
    engine: Any, builder: Builder, tmp_path: Path
) -> None:
    write_layers(builder, ["strace"], tmp_path)

    def build() -> str:
        done = subprocess.run(
            ["docker", "build", "-t", "foothold-test:build", "-f", ROOT / "Containerfile", tmp_path],
            env={**os.environ, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        build()
        printed = engine.containers.run("foothold-test:build", ["--version"], remove=True)
        assert printed.decode().startswith("foothold, version ")
        with tarfile.open(tmp_path / "foothold.tar", "a") as tar:  # a changed source file
            tar.add(__file__, f"{LIBRARY}/foothold_lab/changed.py")
        steps = build().split("Step ")[1:]
        cached = {each.split()[3]: "Using cache" in each for each in steps if " ADD " in each}
        assert cached == {f"{each}.tar": each != "foothold" for each in LAYERS}
    finally:
        engine.images.remove("foothold-test:build", force=True)
