"""A mirror that fails or lies: the error names its cause in bounded time, and nothing false stays."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foothold_lab.harness.cli.context import FAILED, OK
from foothold_lab.harness.cli.main import main
from foothold_lab.images import apt, catalogue, own_apt
from foothold_lab.images.apt import Apt, Deb, PackageSet
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import Materials, Recipe
from tests import debian_archive
from tests.debian_archive import SUITE, Archive, Mirror, serve

WANTED = PackageSet(suite=SUITE, packages=("base",))
INDEX = "dists/"

pytestmark = pytest.mark.skipif(
    bool(not own_apt.host_has_apt() or debian_archive.missing_tool()),
    reason="this machine has no apt or no gpg",
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    archive = Archive(tmp_path_factory.mktemp("archive") / "debian")
    archive.add("base")
    yield archive
    archive.close()


@pytest.fixture
def mirror(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    archive.publish()
    monkeypatch.setattr(apt, "KEYS", archive.keys)
    monkeypatch.setattr(apt, "TIMEOUT", 1)
    monkeypatch.setattr(apt, "RETRIES", 0)
    with serve(archive) as mirror:
        monkeypatch.setenv("FOOTHOLD_MIRROR", mirror.url)
        yield mirror


def stamps(cache: Path) -> list[Path]:
    return list(cache.rglob("updated"))


def test_a_good_mirror_gives_packages(tmp_path: Path, mirror: Mirror) -> None:
    one = Apt(Cache(tmp_path / "cache"))
    debs = one.resolve(WANTED)
    one.fetch(WANTED, debs)
    one.unpack(debs, tmp_path / "tree")
    assert (tmp_path / "tree/usr/share/base/version").read_text() == "1.0"
    assert stamps(tmp_path / "cache")


FAULTS: dict[str, tuple[Callable[[Mirror], None], str]] = {
    "hangs": (lambda mirror: mirror.hangs(INDEX), r"Connection (timed out|failed)"),
    "sends garbage": (lambda mirror: mirror.sends(INDEX, b"\0\x1b[2J" * 999), "InRelease|Release"),
    "is not a mirror": (lambda mirror: mirror.sends(INDEX, b"<html>", status=404), "404"),
    "sends half": (lambda mirror: mirror.sends("Packages", b"P", length=500), "Packages"),
    "sends another index": (
        lambda mirror: mirror.sends("Packages", b"Package: base\n\n"),
        "unexpected size|Hash Sum mismatch",
    ),
    "loses the index": (lambda mirror: mirror.sends("Packages", b"", status=404), "404|Packages"),
    "breaks its own signature": (
        lambda mirror: _edit(mirror.archive.root / "dists" / SUITE / "InRelease"),
        "signature|NOSPLIT|BADSIG",
    ),
}


def _edit(release: Path) -> None:
    release.write_text(release.read_text().replace("Label: Debian", "Label: debian"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_mirror_is_named_and_its_index_is_not_used(
    tmp_path: Path, mirror: Mirror, fault: str
) -> None:
    misbehave, reason = FAULTS[fault]
    misbehave(mirror)
    started = time.monotonic()
    with pytest.raises(ImageError, match=reason) as error:
        Apt(Cache(tmp_path / "cache")).resolve(WANTED)
    assert time.monotonic() - started < 15
    assert "Unable to locate" not in str(error.value)
    assert mirror.url in error.value.remedy
    assert not stamps(tmp_path / "cache")


def test_a_mirror_that_works_again_is_asked_again(tmp_path: Path, mirror: Mirror) -> None:
    cache = Cache(tmp_path / "cache")
    mirror.sends(INDEX, b"", status=503)
    with pytest.raises(ImageError, match="503"):
        Apt(cache).resolve(WANTED)
    mirror.sends("no such path", b"")
    assert [deb.package for deb in Apt(cache).resolve(WANTED)] == ["base"]


def test_a_slow_mirror_has_a_deadline_and_progress(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "TIMEOUT", 60)
    monkeypatch.setattr(apt, "INDEX_DEADLINE", 2)
    monkeypatch.setattr(apt, "_TICK", 0.5)
    mirror.hangs(INDEX)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    kept: list[str] = []
    shown: list[str] = []

    def progress(what: str, /, *, transient: bool = False) -> None:
        (shown if transient else kept).append(what)

    started = time.monotonic()
    with pytest.raises(ImageError, match="did not arrive in 2 s") as error:
        Apt(Cache(tmp_path / "cache"), progress).resolve(WANTED)
    assert time.monotonic() - started < 10
    assert mirror.url in error.value.remedy
    assert sum("waiting for the package index" in line for line in kept) == 1
    assert sum("waiting for the package index" in line for line in shown) >= 1
    assert not [*(tmp_path / "tmp").iterdir()], "apt-get was killed"


PACKAGE_FAULTS: dict[str, Callable[[Mirror, Deb], None]] = {
    "another package of the same size": lambda mirror, deb: mirror.sends("pool", b"x" * deb.size),
    "half": lambda mirror, deb: mirror.sends("pool", b"x" * (deb.size // 2), length=deb.size),
    "nothing": lambda mirror, deb: mirror.sends("pool", b"", status=404),
    "no answer": lambda mirror, deb: mirror.hangs("pool"),
}


@pytest.mark.parametrize("fault", PACKAGE_FAULTS)
def test_a_wrong_package_is_refused(tmp_path: Path, mirror: Mirror, fault: str) -> None:
    one = Apt(Cache(tmp_path / "cache"))
    debs = one.resolve(WANTED)
    PACKAGE_FAULTS[fault](mirror, debs[0])
    with pytest.raises(ImageError, match="apt-get download of bookworm/amd64 failed"):
        one.fetch(WANTED, debs)
    assert not one.has(debs[0])


def test_two_architectures_download_one_package_at_once(
    tmp_path: Path, archive: Archive, mirror: Mirror
) -> None:
    """As in the first run on a machine, which builds the images of several guests at once."""
    archive.add("shared", architecture="all")
    archive.publish(architectures=("amd64", "arm64"))
    one = Apt(Cache(tmp_path / "cache"))
    wanted = [
        PackageSet(suite=SUITE, packages=("shared",), architecture=each)
        for each in ("amd64", "arm64")
    ]
    found = [one.resolve(each) for each in wanted]
    mirror.answers_together("pool", 2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one.fetch, wanted, found))
    for debs in found:
        one.unpack(debs, tmp_path / "tree")
    assert [path.name for path in one.debs.iterdir()] == ["shared_1.0_all.deb"]


def test_an_expired_index_is_reported(tmp_path: Path, mirror: Mirror) -> None:
    mirror.archive.publish(age=30 * 86400, valid=7 * 86400)
    said: list[str] = []
    one = Apt(Cache(tmp_path / "cache"), lambda what, **_: said.append(what))
    assert [deb.package for deb in one.resolve(WANTED)] == ["base"]
    [line] = [line for line in said if "expired" in line]
    assert re.search(r"the package index of bookworm/amd64 expired on \d{4}-\d\d-\d\d", line)


def test_a_valid_index_is_not_reported(tmp_path: Path, mirror: Mirror) -> None:
    mirror.archive.publish(valid=7 * 86400)
    said: list[str] = []
    Apt(Cache(tmp_path / "cache"), lambda what, **_: said.append(what)).resolve(WANTED)
    assert not [line for line in said if "expired" in line]


def test_an_index_is_small_and_can_be_pruned(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine with the defaults of apt: uncompressed, with binary caches."""
    settings = tmp_path / "apt.conf"
    settings.write_text('Dir::Etc::parts "/dev/null"; Dir::Etc::main "/dev/null";')
    monkeypatch.setenv("APT_CONFIG", str(settings))
    cache = Cache(tmp_path / "cache")
    one = Apt(cache)
    debs = one.resolve(WANTED)
    state = tmp_path / "cache/apt/bookworm-amd64"
    lists = [path.name for path in (state / "lists").iterdir() if "Packages" in path.name]
    assert len(lists) == 1
    assert not lists[0].endswith("Packages")
    assert not list(state.rglob("pkgcache.bin"))
    with cache.locked("apt-bookworm-amd64"):
        [removal] = Cache(tmp_path / "cache").prune(frozenset())
        assert removal.obstacle == "a build uses it"
    [removal] = cache.prune(frozenset())
    assert removal.size > 0
    assert not state.exists()
    assert one.resolve(WANTED) == debs


def test_the_configuration_of_this_machine_runs_nothing_and_allows_nothing(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks of the machine were run by each update; and it may accept archives without signatures."""
    ran = tmp_path / "ran"
    hooks = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke",
             "APT::Update::Post-Invoke-Success", "AptCli::Hooks::Install", "DPkg::Pre-Invoke",
             "DPkg::Post-Invoke")  # fmt: skip
    allowed = ("Acquire::AllowInsecureRepositories", "Acquire::AllowWeakRepositories",
               "Acquire::AllowDowngradeToInsecureRepositories", "APT::Get::AllowUnauthenticated")  # fmt: skip
    lines = [f'{hook} {{ "touch {ran}"; }};' for hook in hooks]
    lines += [f'{option} "true";' for option in allowed]
    (tmp_path / "apt.conf").write_text("\n".join(lines))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    one = Apt(Cache(tmp_path / "cache"))
    one.fetch(WANTED, one.resolve(WANTED))
    assert not ran.exists()
    for name in ("InRelease", "Release.gpg"):
        (mirror.archive.root / "dists" / SUITE / name).unlink(missing_ok=True)
    with pytest.raises(ImageError, match="is not signed"):
        Apt(Cache(tmp_path / "other")).resolve(WANTED)
    assert not ran.exists()


def test_setup_keeps_a_mirror_only_if_it_is_signed(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOOTHOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalogue, "default_suites", lambda: [SUITE])
    monkeypatch.delenv("FOOTHOLD_MIRROR")
    configuration = tmp_path / "foothold/config.toml"
    _edit(mirror.archive.root / "dists" / SUITE / "InRelease")
    assert main(["setup", "--mirror", mirror.url]) == FAILED
    assert not configuration.exists()
    mirror.archive.publish()
    mirror.requests.clear()
    assert main(["setup", "--mirror", mirror.url]) == OK
    assert configuration.read_text() == f'mirror = "{mirror.url}"\n'
    assert not [path for path in mirror.requests if "Packages" in path]
    assert [deb.package for deb in Apt(Cache(tmp_path / "cache")).resolve(WANTED)] == ["base"]


def test_downloads_no_dependency_that_the_set_leaves_out(
    tmp_path: Path, archive: Archive, mirror: Mirror
) -> None:
    """It downloaded 160 MB for the default plan that no image uses."""
    archive.add("library")
    archive.add("program", depends="library")
    archive.publish()
    one = Apt(Cache(tmp_path / "cache"))
    wanted = PackageSet(suite=SUITE, packages=("program",), only=("program",))
    one.fetch(wanted, one.resolve(wanted))
    assert [path.name for path in one.debs.iterdir()] == ["program_1.0_amd64.deb"]
    assert not [path for path in mirror.requests if "library" in path]


def test_two_images_of_one_suite_share_a_download(
    tmp_path: Path, archive: Archive, mirror: Mirror
) -> None:
    """Two emulators share 50 packages, and are built at the same time."""
    one = Apt(Cache(tmp_path / "cache"))
    debs = one.resolve(WANTED)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: one.fetch(WANTED, debs), range(2)))
    assert len([path for path in mirror.requests if path.endswith(".deb")]) == 1


def make_image(materials: Materials, out: Path) -> None:
    (out / "image").touch()


def test_what_was_downloaded_for_images_is_removed(
    tmp_path: Path, archive: Archive, mirror: Mirror
) -> None:
    """Packages were a sixth of the disk that the default plan took."""
    cache = Cache(tmp_path / "cache")
    names = ("one", "other")
    recipes = {each: Recipe(name=each, make=make_image, packages=WANTED, space=0) for each in names}
    builder = Builder(cache, recipes=recipes)
    downloads = tmp_path / "cache" / "debs"
    for name in names:
        builder.image(name)
        assert [path.name for path in downloads.iterdir()] == ["base_1.0_amd64.deb"]
    with cache.downloads_kept():  # as a build of another process does
        builder.discard_downloads()
        assert list(downloads.iterdir())
        assert stamps(cache.root)
        [removal] = Cache(tmp_path / "cache").prune(frozenset(cache.directories()))[-1:]
        assert removal.obstacle == "a build uses it"
    follower = Builder(cache, recipes=recipes)
    follower.image("one")  # built already: its packages may be another builder's
    follower.discard_downloads()
    assert list(downloads.iterdir())
    cache.prune(frozenset(cache.directories()))
    assert not list(downloads.iterdir())
    assert not stamps(cache.root)
    assert len([path for path in mirror.requests if path.endswith(".deb")]) == 1
