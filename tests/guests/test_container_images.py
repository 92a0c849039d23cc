"""Guests `docker:IMAGE` and `podman:IMAGE`: images of users, of which the agent needs nothing."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from foothold_lab.harness import runner
from foothold_lab.harness.api.guest import OpenGuest, open_guest
from foothold_lab.harness.guests import podman_service
from foothold_lab.harness.guests.base import run_program
from foothold_lab.harness.guests.catalogue import catalogue, find_guest
from foothold_lab.harness.guests.container_engine import ENGINES
from foothold_lab.harness.guests.podman_service import end_service
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UnsupportedError, UsageError
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.record import Supervision
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.runner import RunOptions
from foothold_lab.images import processes
from foothold_lab.images.builder import Builder
from tests.guests.container_images import load_image, musl_files, registry
from tests.host_compiler import host_compiler

pytestmark = pytest.mark.xdist_group("container-images")
SETTINGS = {
    "User": "65532",
    "WorkingDir": "/app",
    "Entrypoint": ["./server"],
    "Cmd": ["from", "CMD"],
    "Env": ["LEVEL=image"],
}


@dataclass(frozen=True)
class Images:
    """An engine with images, and the program that is in them."""

    engine: str
    program: Path

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        with contextlib.closing(ENGINES[self.engine].connect(60)) as client:
            yield client


@pytest.fixture(scope="module", params=list(ENGINES))
def images(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Images]:
    from docker.errors import DockerException

    engine = ENGINES[request.param]
    place = tmp_path_factory.mktemp("images")
    program = place / "server"
    source = Path(__file__).with_name("in_image.c")
    subprocess.run(
        [*host_compiler(static=True), "-O1", "-static", "-o", program, source], check=True
    )
    try:
        client = engine.connect(60)
    except (DockerException, OSError, UnsupportedError) as error:
        pytest.skip(f"{engine.title} does not answer: {error}")
    load_image(client, "foothold-test/distroless:1", {"/app/server": program}, SETTINGS)
    load_image(client, "foothold-test/arm64:1", {"/app/server": program}, architecture="arm64")
    load_image(client, "foothold-test/musl:1", musl_files(place))
    client.close()
    yield Images(engine.program, program)


@pytest.fixture(scope="module")
def distroless(images: Images) -> Iterator[OpenGuest]:
    """A container of an image with one static file, no passwd, no /tmp, and an entrypoint."""
    with open_guest(f"{images.engine}:foothold-test/distroless:1") as guest:
        yield guest


def printed(verdict: Verdict) -> str:
    assert verdict.result is Result.PASS, str(verdict)
    assert verdict.observed
    assert str(verdict.observed.path) == "high"
    assert not any("not traced" in note for note in verdict.notes)
    return (Path(verdict.artefacts) / "stdout").read_text()


def test_the_entrypoint_starts_as_docker_starts_it(distroless: OpenGuest) -> None:
    said = printed(distroless.run_cell("guest:entrypoint"))
    assert said.startswith("user 65532, directory /app, LEVEL=image, arguments from CMD\n")
    said = printed(
        distroless.run_cell("guest:entrypoint", "of", "mine", environment={"LEVEL": "my"})
    )
    assert said.startswith("user 65532, directory /app, LEVEL=my, arguments of mine\n")


def test_a_program_of_the_image(distroless: OpenGuest) -> None:
    said = printed(distroless.run_cell("guest:/app/server", "x"))
    assert said.startswith("user 65532, directory /app, LEVEL=image, arguments x\n")
    missing = distroless.run_cell("guest:/app/other")
    assert missing.result is Result.ERROR
    assert "No such file or directory" in str(missing)


def test_a_program_is_put_into_the_image(
    distroless: OpenGuest, images: Images, tmp_path: Path
) -> None:
    """A static one, and one that brings its libraries, into an image that has none."""
    assert printed(distroless.run_cell(images.program)).startswith(
        "user 65532, directory /.foothold/work/"
    )
    dynamic = tmp_path / "dynamic"
    source = Path(__file__).with_name("in_image.c")
    subprocess.run([*host_compiler(), "-O1", "-o", dynamic, source], check=True)
    assert printed(distroless.run_cell(dynamic)).startswith("user 65532")


def test_what_docker_run_gives(distroless: OpenGuest, images: Images) -> None:
    """Seccomp profile, capabilities and limits are those of `docker run`."""
    with images.connected() as client:
        # not with remove=True, which follows the log: Podman does not end it if the container ends at once
        container = client.containers.run("foothold-test/distroless:1", detach=True)
        container.wait(timeout=60)
        usual = container.logs().decode()
        container.remove()
    ours = printed(distroless.run_cell("guest:entrypoint"))
    pattern = r"/proc/self/(?:limits: .*|status: Cap.*)"
    assert re.findall(pattern, ours) == re.findall(pattern, usual)
    assert len(re.findall(pattern, usual)) == 22
    assert "Seccomp:\t2" in usual
    assert "Seccomp:\t2" in ours


def test_a_subject_reaches_nothing_of_the_host(distroless: OpenGuest) -> None:
    said = printed(distroless.run_cell("guest:/app/server", expect="starts"))
    for place in ("/.foothold/agent/agent", "/.foothold/share/written"):
        assert re.search(rf"write {place}: (Read-only file system|Permission denied)", said)
    interfaces = re.findall(r"/proc/net/dev: *(\w+):", said)
    assert interfaces == ["lo"]


def test_root_of_a_read_only_image(images: Images) -> None:
    name = f"{images.engine}:foothold-test/distroless:1+read-only"
    with open_guest(name) as guest:
        assert guest.name == name
        said = printed(guest.run_cell("guest:/app/server"))
        assert "write /written: Read-only file system" in said
        refused = guest.run_cell(images.program)
    assert refused.result is Result.UNSUPPORTED
    assert "the root of the container is read-only" in str(refused)


REACH_AGENT = """
for agent in 1 $PPID; do
    $0 head -c 1 /proc/$agent/mem && exit 1
    $0 readlink /proc/$agent/fd/1 && exit 2
    true > /proc/$agent/fd/1 && exit 3
done
exit 7
"""


def test_musl(images: Images, builder: Builder) -> None:
    with open_guest(f"{images.engine}:foothold-test/musl:1") as guest:
        busybox = builder.image("root") / "bin/busybox"  # static; it runs as root
        attack = ("sh", "-c", REACH_AGENT, str(busybox))
        refused = guest.run_cell(busybox, *attack, expect="status:7")
        assert refused.result is Result.PASS, str(refused)
        assert printed(guest.run_cell("guest:/usr/bin/program")) == "started with musl\n"
        assert printed(guest.run_cell(images.program)).startswith("user 0, directory")
        limited = guest.run_cell(
            "guest:/usr/bin/program", limits="rlimit_as=32M", expect="status:9"
        )
        assert limited.result is Result.PASS, str(limited)
        unknown = guest.run_cell("guest:entrypoint")
        assert "neither ENTRYPOINT nor CMD" in str(unknown)
        allocator = guest.run_cell()
        assert allocator.result is Result.UNSUPPORTED
        assert f"take the guest {images.engine}" in allocator.remedy


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("foothold-test/none:1", "has no image foothold-test/none:1", "pull"),
        ("foothold-test/arm64:1", "is for linux/arm64", "pull --platform linux/amd64"),
        (f"foothold-test/musl:1@sha256:{'0' * 64}", "has another digest", "give one of its own"),
    ],
)
def test_an_image_that_cannot_be_used(
    name: str, reason: str, remedy: str, images: Images, builder: Builder, tmp_path: Path
) -> None:
    kind = find_guest(catalogue(builder), f"{images.engine}:{name}")
    support = kind.supported(builder, tmp_path)
    assert not support.ok
    assert reason in support.reason
    assert remedy in support.remedy
    with pytest.raises(UnsupportedError, match=re.escape(reason)), open_guest(kind.name):
        pass


def test_the_digest_of_the_remedy_is_taken(
    images: Images, builder: Builder, tmp_path: Path
) -> None:
    wrong = find_guest(
        catalogue(builder), f"{images.engine}:foothold-test/musl:1@sha256:{'0' * 64}"
    )
    remedy = wrong.supported(builder, tmp_path).remedy
    digests = set(re.findall(r"sha256:[0-9a-f]{64}", remedy)) - {f"sha256:{'0' * 64}"}
    assert digests
    for digest in digests:
        right = find_guest(catalogue(builder), f"{images.engine}:foothold-test/musl:1@{digest}")
        assert right.supported(builder, tmp_path).ok


def test_nothing_is_downloaded_unless_the_user_says_so(
    images: Images, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry({"/server": images.program}) as served, contextlib.ExitStack() as after:
        if images.engine == "podman":  # it uses HTTP on 127.0.0.1 only if it is allowed to
            allowed = tmp_path / "registries.conf"
            place = served.name.partition("/")[0]
            allowed.write_text(f'[[registry]]\nlocation = "{place}"\ninsecure = true\n')
            monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(allowed))
            monkeypatch.setattr(podman_service, "_started", [])  # another service, which reads it
            after.callback(end_service)
        for name in (served.name, f"{served.name}@{served.digest}"):
            with pytest.raises(UnsupportedError, match="has no image") as caught:
                pull(f"{images.engine}:{name}", builder, tmp_path / "refused", allowed=False)
            assert f"{images.engine} pull {name}" in caught.value.remedy
            assert "--pull" in caught.value.remedy
            assert served.requested == []
        with pytest.raises(UnsupportedError, match="cannot download"):
            pull(
                f"{images.engine}:{served.name}@sha256:{'0' * 64}",
                builder,
                tmp_path / "0",
                allowed=True,
            )
        pull(
            f"{images.engine}:{served.name}@{served.digest}", builder, tmp_path / "1", allowed=True
        )
        pull(f"{images.engine}:{served.name}", builder, tmp_path / "2", allowed=True)
        with images.connected() as client:
            client.images.remove(f"{served.name}:latest", force=True)


def pull(name: str, builder: Builder, directory: Path, *, allowed: bool) -> None:
    options = RunOptions(directory=directory, builder=builder, jobs=1, pull=allowed)
    with runner.open_guest(name, options, lambda _: None) as booted:
        assert booted.facts.task_size > 1 << 46


def test_a_shell_in_an_image(images: Images) -> None:
    words = ("shell", f"{images.engine}:foothold-test/distroless:1", "--", "/app/server", "hello")
    done = processes.run([sys.executable, "-m", "foothold_lab.harness.cli", *words])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("user 65532, directory ")
    assert "arguments hello" in done.stdout


def test_another_user_of_an_image(distroless: OpenGuest, images: Images) -> None:
    how = Supervision(user="4321", fresh_directory=True)
    record = run_program(distroless.guest, ["/app/server"], Limits(), Deadline.after(60), how=how)
    said = record.stdout.decode()
    assert said.startswith("user 4321, directory /.foothold/work/")
    assert "write written: possible" in said
    assert set(record.written) == {"written"}
    how = replace(how, user="unknown")
    with pytest.raises(UsageError, match="has no such user"):
        run_program(distroless.guest, ["/app/server"], Limits(), Deadline.after(60), how=how)


def test_another_runtime(images: Images, builder: Builder, tmp_path: Path) -> None:
    """The kernel of gVisor has no seccomp filters that the agent could trace by."""
    name = f"{images.engine}:foothold-test/distroless:1+runtime=runsc"
    if images.engine == "podman":
        support = find_guest({}, name).supported(builder, tmp_path)
        assert "cannot be asked for a runtime" in support.reason
        assert "podman --runtime runsc system service" in support.remedy
        return
    support = find_guest({}, name.replace("runsc", "fast")).supported(builder, tmp_path)
    assert "has no runtime 'fast'" in support.reason
    assert "--add-runtime fast=PATH" in support.remedy
    with images.connected() as client:
        if "runsc" not in client.info()["Runtimes"]:
            pytest.skip("the Docker engine has no runtime runsc")
    with open_guest(name) as guest:
        assert guest.facts.task_size == 0x7F0000000000
        verdict = guest.run_cell("guest:entrypoint")
    assert verdict.result is Result.PASS, str(verdict)
    assert "not traced: seccomp is refused (errno 22)" in verdict.notes
