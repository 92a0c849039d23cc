"""The store of images under replaced files, concurrent pruning, signals and a second user. Real
processes run the real command, with small packages of an archive that the test makes.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.images import own_apt
from foothold_lab.images.cache import Cache
from foothold_lab.images.verify import verify
from tests import debian_archive
from tests.debian_archive import Archive, Mirror, serve
from tests.hostile.small_store import IMAGES, command, environment, make_archive, run

ROUNDS = 30
MOMENTS = 20
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    bool(not own_apt.host_has_apt() or debian_archive.missing_tool()),
    reason="this machine has no apt or no gpg",
)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    archive = make_archive(tmp_path_factory.mktemp("archive") / "debian")
    with serve(archive) as mirror:
        yield mirror
    archive.close()


def packages(cache: Path) -> list[Path]:
    return sorted((cache / "debs").glob("*.deb"))


def build_and_keep_packages(cache: Path, archive: Archive, variables: dict[str, str]) -> None:
    """Build all images. The packages stay, because another process uses them at that moment."""
    with Cache(cache).downloads_kept():
        assert run(archive, variables, "build").returncode == 0
    assert packages(cache)


def images(cache: Path) -> dict[str, Path]:
    return {entry.manifest.name: entry.path for entry in Cache(cache).entries()}


def replace_keeping_the_time(path: Path) -> None:
    """Change a byte in the middle of a file, and nothing else."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_replaced_package_is_not_built_in(tmp_path: Path, mirror: Mirror) -> None:
    cache = tmp_path / "cache"
    variables = environment(cache, mirror.url)
    build_and_keep_packages(cache, mirror.archive, variables)
    before = (images(cache)["tool"] / "usr/share/tool/7").read_bytes()
    shutil.rmtree(cache / "store")
    replaced = packages(cache)
    for package in replaced:
        replace_keeping_the_time(package)
    done = run(mirror.archive, variables, "build", "--locked")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is not the package") == len(replaced)
    assert (images(cache)["tool"] / "usr/share/tool/7").read_bytes() == before


def test_without_its_mirror_a_replaced_package_fails_the_build(
    tmp_path: Path, mirror: Mirror
) -> None:
    cache = tmp_path / "cache"
    variables = environment(cache, mirror.url)
    build_and_keep_packages(cache, mirror.archive, variables)
    shutil.rmtree(cache / "store")
    replace_keeping_the_time(packages(cache)[0])
    broken = {**variables, "FOOTHOLD_MIRROR": f"{mirror.url}/nowhere"}
    done = run(mirror.archive, broken, "build", "--locked")
    assert done.returncode == 3
    assert "404" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (cache / "store").exists() or "root" not in images(cache)


def test_verify_mends_the_store(tmp_path: Path, mirror: Mirror) -> None:
    cache = tmp_path / "cache"
    variables = environment(cache, mirror.url)
    build_and_keep_packages(cache, mirror.archive, variables)
    done = run(mirror.archive, variables, "verify")
    assert (done.returncode, done.stdout) == (0, "4 images intact, 0 damaged, 0 removed\n")
    replace_keeping_the_time(images(cache)["tool"] / "usr/share/tool/7")
    (images(cache)["root"] / "usr/share/base/added").touch()
    replace_keeping_the_time(packages(cache)[0])
    done = run(mirror.archive, variables, "verify")
    assert done.returncode == 1
    assert "the contents of usr/share/tool/7 have changed" in done.stdout
    assert "usr/share/base/added was added" in done.stdout
    assert "its contents are not those of the package" in done.stdout
    assert done.stdout.endswith("2 images intact, 2 and 1 packages damaged, 3 removed\n")
    assert run(mirror.archive, variables, "build", "--locked").returncode == 0
    assert run(mirror.archive, variables, "verify").returncode == 0


PRUNER = """
import sys
from pathlib import Path
from foothold_lab.images.cache import Cache
while not Path(sys.argv[2]).exists():
    Cache(Path(sys.argv[1])).prune(frozenset())
"""


def test_prune_during_builds_breaks_none(tmp_path: Path, mirror: Mirror) -> None:
    """One process removes all that is unused, again and again. Others build."""
    cache, end = tmp_path / "cache", tmp_path / "end"
    variables = environment(cache, mirror.url)
    prune = [sys.executable, "-c", PRUNER, cache, end]
    with subprocess.Popen(prune, stderr=subprocess.PIPE, text=True, cwd=ROOT) as pruner:
        try:
            for _ in range(ROUNDS // 4):
                builds = [
                    subprocess.Popen(
                        command(mirror.archive, "build", name),
                        env=variables, cwd=ROOT, text=True,
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    )
                    for name in ("disk-a", "disk-b")
                ]  # fmt: skip
                for build in builds:
                    _, errors = build.communicate(timeout=120)
                    assert build.returncode == 0, errors
                    assert "Traceback" not in errors
                assert pruner.poll() is None
        finally:
            end.touch()
            _, errors = pruner.communicate(timeout=60)
    assert (pruner.returncode, errors) == (0, "")
    assert list(verify(Cache(cache))) == []
    assert list((cache / "building").iterdir()) == []


def test_prune_keeps_what_a_run_uses(tmp_path: Path, mirror: Mirror) -> None:
    cache = tmp_path / "cache"
    assert run(mirror.archive, environment(cache, mirror.url), "build").returncode == 0
    used = images(cache)["tool"]
    user = f"""
from pathlib import Path
from foothold_lab.images.cache import Cache
entry = Cache(Path({str(cache)!r})).find({used.name!r})
print(entry.path.name, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", user], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline().strip() == used.name
        removals = Cache(cache).prune(frozenset())
        assert len(removals) == len(IMAGES)
        assert [each.path for each in removals if each.obstacle] == [used]
        assert used.exists()
        process.communicate("\n", timeout=30)
    assert [each.path for each in Cache(cache).prune(frozenset())] == [used]


def descendants(cache: Path) -> list[str]:
    """Return the command lines of all processes whose environment names this store."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"FOOTHOLD_CACHE={cache}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def wait_for_none(cache: Path) -> list[str]:
    """Return the processes of this store that still run after 5 seconds."""
    deadline = time.monotonic() + 5
    while (found := descendants(cache)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGINT, 130), (signal.SIGKILL, -9)],
)
def test_a_signal_at_any_moment_ends_a_build(
    tmp_path: Path, mirror: Mirror, number: signal.Signals, expected: int
) -> None:
    """After every signal nothing runs; the next build succeeds and leaves nothing half."""
    cache = tmp_path / "cache"
    variables = {**environment(cache, mirror.url), "BUILD_SECONDS": "0.1"}
    chosen = random.Random(number)
    ended = []
    for _ in range(MOMENTS // 4):
        shutil.rmtree(cache, ignore_errors=True)
        build = subprocess.Popen(
            command(mirror.archive, "build"), env=variables, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        while not (cache / "apt").exists():  # else Python may not handle the signal yet
            assert build.poll() is None
            time.sleep(0.005)
        time.sleep(chosen.uniform(0, 1.2))
        build.send_signal(number)
        _, errors = build.communicate(timeout=60)
        ended.append(build.returncode)
        assert "Traceback" not in errors
        assert wait_for_none(cache) == []
        if number != signal.SIGKILL:
            assert list(cache.glob("building/*")) == []
        assert list(verify(Cache(cache))) == []
        done = run(mirror.archive, {**variables, "BUILD_SECONDS": "0"}, "build")
        assert done.returncode == 0, done.stderr
        assert list(cache.glob("building/*")) == []
        assert sorted(images(cache)) == sorted(IMAGES)
    assert set(ended) <= {expected, 0}
    assert expected in ended


def test_two_builders_of_one_image_build_it_once(tmp_path: Path, mirror: Mirror) -> None:
    cache = tmp_path / "cache"
    variables = {**environment(cache, mirror.url), "BUILD_SECONDS": "1"}
    builds = [
        subprocess.Popen(
            command(mirror.archive, "build", "tool"), env=variables, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    ends = [build.communicate(timeout=60) for build in builds]
    assert [build.returncode for build in builds] == [0, 0]
    assert ends[0][0] == ends[1][0]
    said = ends[0][1] + ends[1][1]
    assert said.count("built tool") == 1
    assert "waiting for another process" in said


@pytest.fixture
def shared(mirror: Mirror) -> Iterator[Path]:
    """A store that root has built and that all users can read, with an empty home directory."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        variables = environment(place / "cache", mirror.url)
        assert run(mirror.archive, variables, "build", "root").returncode == 0
        yield place


# reads files as root does, because Python may be in root's directory; writes as an ordinary user
OTHER_USER = (
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
def test_a_second_user_uses_the_store_and_cannot_change_it(shared: Path, mirror: Mirror) -> None:
    variables = environment(shared / "cache", mirror.url) | {"HOME": "/nonexistent"}
    variables["PYTHONDONTWRITEBYTECODE"] = "1"
    done = run(mirror.archive, variables, "build", "root", prefix=OTHER_USER)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(images(shared / "cache")["root"]) in done.stdout
    done = run(mirror.archive, variables, "build", "disk-a", prefix=OTHER_USER)
    assert done.returncode == 3
    assert f"the image store {shared}/cache lacks disk-a-" in done.stderr
    assert "ask its owner to run `foothold images build`" in done.stderr
    assert "writable" not in done.stderr
    done = run(mirror.archive, variables, "verify", prefix=OTHER_USER)
    assert done.returncode == 0, done.stdout
    replace_keeping_the_time(images(shared / "cache")["tool"] / "usr/share/tool/7")
    done = run(mirror.archive, variables, "verify", prefix=OTHER_USER)
    assert done.returncode == 1
    assert "not removed: the image store" in done.stdout
    done = subprocess.run(
        [*OTHER_USER, sys.executable, "-m", "foothold_lab.harness.cli", "doctor"],
        env=variables, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "its images can be used, but none can be built" in done.stdout
    assert re.search(r"no +uml-6.1 .*lacks its images, and is read-only", done.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
@pytest.mark.parametrize("argv", [["images", "list"], ["run"], ["doctor"], ["history"]])
def test_a_user_without_a_home_directory_gets_one_clear_line(argv: list[str]) -> None:
    done = subprocess.run(
        [
            "setpriv", "--reuid=12345", "--regid=12345", *OTHER_USER[3:],
            sys.executable, "-B", "-m", "foothold_lab.harness.cli", *argv,
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode in (2, 3)
    assert re.fullmatch(
        r"foothold: this user has no home directory, where [a-z ]+\n  remedy: set [A-Z_, a-z]+\n",
        done.stderr,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
def test_prune_keeps_what_a_second_user_uses(shared: Path) -> None:
    used = images(shared / "cache")["tool"]
    user = f"""
from pathlib import Path
from foothold_lab.images.cache import Cache
entry = Cache(Path({str(shared / "cache")!r})).find({used.name!r})
print(entry.path.name, flush=True)
input()
"""
    with subprocess.Popen(
        [*OTHER_USER, sys.executable, "-B", "-c", user], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline().strip() == used.name
        Cache(shared / "cache").prune(frozenset())
        assert [path.name for path in Cache(shared / "cache").directories()] == [used.name]
        process.communicate("\n", timeout=30)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
def test_a_second_user_waits_for_a_builder(shared: Path, mirror: Mirror) -> None:
    cache = shared / "cache"
    variables = environment(cache, mirror.url) | {"BUILD_SECONDS": "2"}
    build = subprocess.Popen(
        command(mirror.archive, "build", "disk-b"), env=variables, cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(cache.glob("building/disk-b*")):
        assert build.poll() is None
        time.sleep(0.005)
    done = run(
        mirror.archive, variables | {"HOME": "/nonexistent"}, "build", "disk-b", prefix=OTHER_USER
    )
    assert build.wait(30) == 0
    assert done.returncode == 0, done.stderr
    assert "waiting for another process that is building disk-b" in done.stderr
    assert str(images(cache)["disk-b"]) in done.stdout
