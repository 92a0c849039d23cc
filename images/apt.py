"""Debian packages of any suite, downloaded by the apt of this machine without changing the system.

Package indexes and downloads are in the cache. apt checks signatures, with the keys that come with
Foothold (`archive_keys`), and hashes. `mirror` chooses the archive.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import hashlib
import os
import platform
import re
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from foothold_lab.images import own_apt, processes
from foothold_lab.images.cache import DEBS, INDEXES, Cache
from foothold_lab.images.errors import ImageError, WrongPackage
from foothold_lab.images.mirror import CHOOSE_MIRROR, find_mirror
from foothold_lab.images.own_apt import ArchiveFile, PackageTools
from foothold_lab.images.progress import Progress, no_progress
from foothold_lab.images.regular_file import NotRegularError, open_regular

KEYS = Path(__file__).with_name("archive_keys")  # the only keys that apt trusts
FRESH = 12 * 3600  # seconds after which a suite's index is downloaded again
TIMEOUT = 10  # seconds that a connection may take to open, or may be silent
RETRIES = 1  # after a failed connection
LARGEST_FILE = 4 << 30  # bytes of a file in a package; the largest that images use has 1 GiB
_BLOCK = 1 << 20
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
INDEX_DEADLINE = 300  # seconds that the download of an index may take
_VERBS = ("update", "install", "download")  # of apt-get
# an update that downloads no index of packages; apt.conf(5), Acquire::IndexTargets
_NO_INDEX = ("-o", "Acquire::IndexTargets::deb::Packages::DefaultEnabled=false")
# commands of this machine that apt-get would run: apt.conf(5)
_HOOKS = (
    "APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success",
    "AptCli::Hooks", "DPkg::Pre-Invoke", "DPkg::Pre-Install-Pkgs", "DPkg::Post-Invoke",
)  # fmt: skip
_TICK = 5  # seconds between messages that the download of an index waits
# file names of packages: deb-version(7), with a colon as %3a
_FILE = (
    r"(?P<package>[a-z0-9][a-z0-9+.-]+)_(?P<version>[A-Za-z0-9.+~%-]+)_(?P<arch>[a-z0-9-]+)\.deb"
)
# apt-get --print-uris: 'URI' file-name size SHA256:hash
_LINE = re.compile(
    rf"'(?P<uri>[^']+)' (?P<file>{_FILE}) (?P<size>[0-9]{{1,12}}) SHA256:(?P<sha256>[0-9a-f]{{64}})"
)


@dataclass(frozen=True, order=True, kw_only=True)
class Deb:
    """One package of a suite. Size in bytes. Raises ValueError for a file name with a directory."""

    package: str
    version: str
    suite: str
    file: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(_FILE, self.file):
            raise ValueError(f"{self.file!r} is not the file name of a package")


@dataclass(frozen=True, kw_only=True)
class PackageSet:
    """Packages of one suite and their dependencies, restricted to the patterns `only` if given."""

    suite: str
    packages: tuple[str, ...]
    only: tuple[str, ...] = ()
    architecture: str = "amd64"

    @property
    def index(self) -> str:
        """Name the package index: suite and architecture."""
        return f"{self.suite}/{self.architecture}"

    def selects(self, package: str) -> bool:
        """Return whether the set has a package of this name, if the others depend on it."""
        return not self.only or any(re.fullmatch(each, package) for each in self.only)

    @property
    def name(self) -> str:
        """Name the set in a lock file."""
        return f"{self.index}: {' '.join(self.packages)}"


def obstacle() -> ImageError | None:
    """Return why this machine cannot use Debian packages, None if it can. Needs no network."""
    if platform.machine() != "x86_64":
        return ImageError(
            f"images run on x86-64 machines, and this one is {platform.machine()}",
            "use an x86-64 machine; here native guests work, with a C compiler",
        )
    try:
        find_mirror()
    except ImageError as error:
        return error
    return None


def parse_uris(output: str, suite: str) -> list[Deb]:
    """Read the output of `apt-get --print-uris`. Other lines than those of packages are ignored."""
    return [
        Deb(
            package=match["package"],
            version=unquote(match["version"]),
            suite=suite,
            file=match["file"],
            size=int(match["size"]),
            sha256=match["sha256"],
        )
        for line in output.splitlines()
        if (match := _LINE.fullmatch(line))
    ]


class Apt:
    """Downloads packages for the images of one cache."""

    def __init__(self, cache: Cache, progress: Progress = no_progress, *, mirror: str = "") -> None:
        """Use the archive `mirror`, by default that of `find_mirror`."""
        self._cache = cache
        self._mirror = mirror
        self._indexes = cache.root / INDEXES
        self._found_tools: PackageTools | None = None
        self._progress = progress
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._unreachable: set[str] = set()  # indexes that this process failed to update
        self.debs = cache.root / DEBS

    def stop(self) -> None:
        """End the current downloads. May be called from another thread."""
        self._stopped = True
        for process in list(self._running):
            process.terminate()

    @property
    def _tools(self) -> PackageTools:
        """The apt of this machine, else Foothold's own, which is downloaded."""
        if self._found_tools is None:
            if own_apt.host_has_apt():
                self._found_tools = PackageTools(options={})
            else:
                self._found_tools = own_apt.obtain(self._cache, self.mirror, self._progress)
        return self._found_tools

    @property
    def mirror(self) -> str:
        """Return the address of the archive. Raises NoMirror."""
        return self._mirror or find_mirror().url

    def verify_suite(self, suite: str) -> None:
        """Download the list of a suite's indexes (InRelease), and verify its signature. Keeps nothing.

        Raises ImageError if the archive does not have the suite, or if Debian did not sign it.
        """
        wanted = PackageSet(suite=suite, packages=())
        self._progress(f"trying {suite} of {self.mirror}")
        with (
            tempfile.TemporaryDirectory(prefix="foothold-") as scratch,
            self._index_lock(wanted) as descriptor,
        ):
            trial = Apt(self._cache, self._progress, mirror=self._mirror)
            trial._indexes, trial._found_tools = Path(scratch), self._tools
            trial._prepare(wanted)
            trial._apt(wanted, descriptor, *_NO_INDEX, "update", limit=INDEX_DEADLINE)

    def resolve(self, wanted: PackageSet, *, refresh: bool = False) -> list[Deb]:
        """Return the current packages of the set.

        Downloads the suite's index if it is older than FRESH seconds, or if `refresh`.
        """
        output = self._list(wanted, refresh=refresh)
        debs = [deb for deb in parse_uris(output, wanted.suite) if wanted.selects(deb.package)]
        if not debs:
            raise ImageError(
                f"{wanted.suite} has no package {' '.join(wanted.packages)}",
                CHOOSE_MIRROR,
            )
        return sorted(debs)

    def archive_files(self, wanted: PackageSet) -> list[ArchiveFile]:
        """Return the current packages of the set by their paths in the archive."""
        return sorted(
            ArchiveFile(
                path=unquote(match["uri"]).removeprefix(f"{self.mirror}/"),
                size=int(match["size"]),
                sha256=match["sha256"],
            )
            for line in self._list(wanted).splitlines()
            if (match := _LINE.fullmatch(line)) and wanted.selects(match["package"])
        )

    def _list(self, wanted: PackageSet, *, refresh: bool = False) -> str:
        """Return the lines of `apt-get --print-uris` for the set and its dependencies."""
        with self._index(wanted, refresh=refresh) as descriptor:
            # an empty archive directory, because apt does not list packages that it has already
            empty = self._state(wanted) / "empty"
            (empty / "partial").mkdir(parents=True, exist_ok=True)
            return self._apt(
                wanted, descriptor, "-o", f"Dir::Cache::archives={empty}", "--print-uris", "--yes",
                "install", *wanted.packages,
            )  # fmt: skip

    def fetch(self, wanted: PackageSet, debs: Sequence[Deb]) -> None:
        """Download missing packages into `debs`.

        What is missing is decided with the index locked: images that are built at the same time share
        many packages.
        """
        if all(map(self.has, debs)):
            return
        with self._index(wanted) as descriptor:
            if missing := [deb for deb in debs if not self.has(deb)]:
                self._download(wanted, descriptor, debs, missing)
        absent = [deb.file for deb in debs if not self.has(deb)]
        if absent:
            raise ImageError(f"apt did not download {', '.join(absent)}", "try again")

    def _download(
        self, wanted: PackageSet, held: int, debs: Sequence[Deb], missing: Sequence[Deb]
    ) -> None:
        total = sum(deb.size for deb in missing)
        what = f"downloading {len(missing)} packages of {wanted.suite}"
        self._progress(f"{what}, {total >> 20} MiB")
        started = time.monotonic()
        with (
            self._archives(wanted, debs) as archives,
            self._download_progress(what, total) as status,
        ):
            self._apt(
                wanted,
                held,
                "-o",
                f"Dir::Cache::archives={archives}",
                "-o",
                f"APT::Status-Fd={status}",
                # not `install`, which also downloads what the packages depend on
                "download",
                *(f"{deb.package}={deb.version}" for deb in missing),
                keep=(status,),
                directory=archives,
            )
        self._progress(f"downloaded {total >> 20} MiB in {time.monotonic() - started:.1f} s")

    @contextlib.contextmanager
    def _archives(self, wanted: PackageSet, debs: Sequence[Deb]) -> Iterator[Path]:
        """Yield a directory for the downloads of one index, with links to the packages of `debs` that
        are there. Then move what has arrived to `self.debs`.

        Two indexes may download the same package at once: those of two architectures have the same
        packages of the architecture `all`.
        """
        archives = self._state(wanted) / "archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        self.debs.mkdir(parents=True, exist_ok=True)
        for deb in filter(self.has, debs):
            link = archives / deb.file
            link.unlink(missing_ok=True)
            link.symlink_to(self.debs / deb.file)
        try:
            yield archives
        finally:
            for file in archives.glob("*.deb"):
                if file.is_symlink():
                    file.unlink()
                else:
                    file.replace(self.debs / file.name)

    @contextlib.contextmanager
    def _download_progress(self, what: str, total: int) -> Iterator[int]:
        """Yield a descriptor for apt-get's status messages, and report them as progress."""
        read, write = os.pipe()

        def listen() -> None:
            reported = -1
            with os.fdopen(read, "rb") as lines:
                for line in lines:
                    # dlstatus:FILES:PERCENT:TEXT, README.progress-reporting of apt
                    word, _, percent, *_ = [*line.split(b":"), b"", b""]
                    with contextlib.suppress(
                        ValueError, ImageError
                    ):  # the builder has been stopped
                        done = int(total * float(percent) / 100) >> 20
                        if word == b"dlstatus" and done != reported:
                            reported = done
                            self._progress(f"{what}, {done} of {total >> 20} MiB", transient=True)

        listener = threading.Thread(target=listen, name="download", daemon=True)
        listener.start()
        try:
            yield write
        finally:
            os.close(write)
            listener.join()

    def has(self, deb: Deb) -> bool:
        """Return whether a file of the package's size is downloaded. `unpack` verifies it."""
        try:
            status = (self.debs / deb.file).lstat()
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == deb.size

    def unpack(self, debs: Sequence[Deb], tree: Path) -> None:
        """Unpack downloaded packages into `tree`, without running their scripts.

        Raises WrongPackage if a file is not the package that it should be, and removes it.
        """
        tree.mkdir(parents=True, exist_ok=True)
        for number, deb in enumerate(debs, 1):
            self._progress(f"unpacking {number} of {len(debs)} packages", transient=True)
            file = self.debs / deb.file
            try:
                with verified_copy(file, deb) as package:
                    self._extract(package, deb, tree)
            except WrongPackage:
                file.unlink()
                raise

    def _extract(self, package: int, deb: Deb, tree: Path) -> None:
        tools = self._tools
        argv: list[str | Path] = [
            tools.program("prlimit"), f"--fsize={LARGEST_FILE}",
            tools.program("dpkg-deb"), "--extract", f"/proc/self/fd/{package}", tree,
        ]  # fmt: skip
        done = processes.run(argv, pass_fds=(package,), env=tools.environment(KEYS))
        if done.returncode and "No space left" in done.stderr:
            raise OSError(errno.ENOSPC, "No space left on device", str(tree))
        if done.returncode:
            raise ImageError(
                f"{deb.file} cannot be unpacked: {done.stderr.strip()[-500:]}",
                "check the memory and the disk of this machine: its SHA256 is right",
            )

    def older_packages(self, old: Sequence[Deb], new: Sequence[Deb]) -> list[Deb]:
        """Return the packages of `new` whose version is older than in `old`."""
        before = {deb.package: deb.version for deb in old}
        compare = (self._tools.program("dpkg"), "--compare-versions")
        return [
            deb
            for deb in new
            if deb.version != before.get(deb.package, deb.version)
            and processes.run([*compare, deb.version, "lt", before[deb.package]]).returncode == 0
        ]

    def _state(self, wanted: PackageSet) -> Path:
        return self._indexes / f"{wanted.suite}-{wanted.architecture}"

    @contextlib.contextmanager
    def _index(self, wanted: PackageSet, *, refresh: bool = False) -> Iterator[int]:
        """Lock the suite's index, and yield the descriptor of the lock. Download the index before if it
        is older than FRESH seconds, or if `refresh`.

        One lock for the download and the use: otherwise `prune` could remove the index in between.
        """
        with self._index_lock(wanted) as descriptor:
            self._update(wanted, descriptor, refresh=refresh)
            yield descriptor

    def _index_lock(self, wanted: PackageSet) -> contextlib.AbstractContextManager[int]:
        name = f"apt-{wanted.suite}-{wanted.architecture}"
        return self._cache.locked(name, progress=self._progress)

    def _update(self, wanted: PackageSet, held: int, *, refresh: bool) -> None:
        state = self._state(wanted)
        stamp = state / "updated"
        known = stamp.is_file() and not refresh and self._is_prepared(wanted)
        fresh = known and 0 <= time.time() - stamp.stat().st_mtime < FRESH
        if fresh or (known and wanted.index in self._unreachable):
            return
        self._progress(f"downloading the package index of {wanted.index}")
        if not known:
            stamp.unlink(missing_ok=True)
            self._prepare(wanted)
        try:
            self._apt(wanted, held, "update", limit=INDEX_DEADLINE)
        except ImageError as error:
            if not known:
                raise
            self._unreachable.add(wanted.index)
            self._progress(f"{error}; using the index of the last download")
            return
        stamp.touch()
        expiry = _expiry(state)
        if expiry and expiry.timestamp() < time.time():
            self._progress(
                f"the package index of {wanted.index} expired on {expiry:%Y-%m-%d}: "
                f"{self.mirror} may be out of date"
            )

    def _source(self, wanted: PackageSet) -> str:
        return f"deb {self.mirror} {wanted.suite} main\n"

    def _is_prepared(self, wanted: PackageSet) -> bool:
        """Return whether the state directory of an index is that of this archive."""
        sources = self._state(wanted) / "sources.list"
        return sources.is_file() and sources.read_text() == self._source(wanted)

    def _prepare(self, wanted: PackageSet) -> None:
        """Make the state directory of an index, as apt needs it."""
        state = self._state(wanted)
        (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        (state / "sources.list").write_text(self._source(wanted))

    def _apt(
        self,
        wanted: PackageSet,
        held: int,
        *arguments: str,
        keep: tuple[int, ...] = (),
        limit: float | None = None,
        directory: Path | None = None,
    ) -> str:
        """Run apt-get, in a directory if it is given. It also holds the lock, which stays held if this
        process is killed.

        With a `limit` in seconds, it reports that it waits, and ends after that time.
        """
        state = self._state(wanted)
        verb = next(word for word in arguments if word in _VERBS)
        options = {
            "APT::Architecture": wanted.architecture,
            "APT::Architectures": wanted.architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::ForceHash": "sha256",
            # indexes stay compressed, and apt makes one binary cache: 53 instead of 117 MB per index
            "Acquire::GzipIndexes": "true",
            "Acquire::Languages": "none",
            "Acquire::Retries": str(RETRIES),
            "Acquire::http::Timeout": str(TIMEOUT),
            "Acquire::https::Timeout": str(TIMEOUT),
            # else apt-get succeeds although an index could not be downloaded
            "APT::Update::Error-Mode": "any",
            "Acquire::Check-Valid-Until": "false",
            # the configuration of this machine may allow these
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
            "APT::Get::AllowUnauthenticated": "false",
            "Debug::NoLocking": "true",
            "Dir::Cache": str(state),
            "Dir::Cache::pkgcache": "",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::Etc::SourceList": str(state / "sources.list"),
            "Dir::Etc::SourceParts": "/dev/null",
            # not Signed-By, which allows no blank in a path
            "Dir::Etc::Trusted": "/dev/null",
            "Dir::Etc::TrustedParts": str(KEYS),
            "Dir::State": str(state),
            "Dir::State::Lists": str(state / "lists"),
            "Dir::State::Status": str(state / "status"),
            **self._tools.options,
        }
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        cleared = state / "apt.conf"  # read after the configuration of this machine
        cleared.write_text("".join(f"#clear {hook};\n" for hook in _HOOKS))
        quiet = "-q" if verb == "update" else "-qq"
        argv = [self._tools.program("apt-get"), "-c", str(cleared), quiet, *flags, *arguments]
        with (
            tempfile.TemporaryDirectory(prefix="foothold-apt-") as scratch,  # apt-get may be killed
            processes.started(
                argv,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="backslashreplace",
                pass_fds=(held, *keep),
                cwd=directory,
                env={**self._tools.environment(KEYS), "TMPDIR": scratch},
            ) as process,
        ):
            self._running.add(process)
            if self._stopped:  # after the last check
                process.terminate()
            output: str
            errors: str
            try:
                output, errors = self._wait(process, wanted, limit)
            finally:
                self._running.discard(process)
        if process.returncode:
            text = _reason(output, errors)
            if "No space left" in errors or "enough free space" in errors:
                raise OSError(28, "No space left on device", str(state))
            raise ImageError(
                f"apt-get {verb} of {wanted.index} failed: {text}",
                self._check_mirror(),
            )
        return output

    def _check_mirror(self) -> str:
        return (
            f"check that {self.mirror} is reachable; while it is being updated, try again later; "
            f"or {CHOOSE_MIRROR}"
        )

    def _wait(
        self, process: subprocess.Popen[str], wanted: PackageSet, limit: float | None
    ) -> tuple[str, str]:
        """Return the output of apt-get. Raises ImageError after `limit` seconds."""
        if limit is None:
            return process.communicate()
        started, reported = time.monotonic(), False
        while True:
            try:
                return process.communicate(timeout=min(_TICK, limit))
            except subprocess.TimeoutExpired:
                waited = time.monotonic() - started
            if waited >= limit:
                raise ImageError(
                    f"the package index of {wanted.index} did not arrive in {limit:.0f} s",
                    self._check_mirror(),
                )
            # once in a log, and then on a terminal only
            self._progress(
                f"waiting for the package index of {wanted.index} from {self.mirror}: {waited:.0f} s",
                transient=reported,
            )
            reported = True


def _reason(output: str, errors: str) -> str:
    """Select the messages that explain a failure of apt-get: what happened to the connection.

    Its output has the cause in the line after `Err:`.
    """
    lines = [line for line in errors.splitlines() if line.startswith(("E:", "W:"))]
    failed = [line for line in lines if "Failed to fetch" in line or "Could not" in line]
    chosen = failed or [line for line in lines if line.startswith("E:")]
    for line, cause in pairwise(output.splitlines()):
        if line.startswith("Err:") and not any(cause.strip() in each for each in chosen):
            chosen.insert(0, cause.strip())
    return "; ".join(dict.fromkeys(chosen[:3])) or errors.strip()[-500:]


def _expiry(state: Path) -> datetime.datetime | None:
    """Return when the index of a suite expires (Valid-Until), None if it does not say."""
    for release in (state / "lists").glob("*Release"):
        for line in release.read_text("utf-8", "replace").splitlines():
            if line.startswith("Valid-Until:"):
                with contextlib.suppress(ValueError):
                    return parsedate_to_datetime(line.partition(":")[2].strip())
    return None


@contextlib.contextmanager
def verified_copy(file: Path, deb: Deb) -> Iterator[int]:
    """Yield a descriptor of a sealed copy of the package in memory (memfd_create(2)), so that what
    was hashed is what is used. Raises WrongPackage if it is another file.
    """
    try:
        opened = open_regular(file, follow_links=False)
    except NotRegularError:
        raise _wrong(deb, "it is not a file") from None
    with opened as source, _memory_file(deb.file) as copy:
        digest, rest = hashlib.sha256(), deb.size + 1  # one more: the file may be longer
        while block := source.read(min(rest, _BLOCK)):
            digest.update(block)
            copy.write(block)
            rest -= len(block)
        copy.flush()
        if digest.hexdigest() != deb.sha256:
            raise _wrong(deb, f"its SHA256 is {digest.hexdigest()} instead of {deb.sha256}")
        fcntl.fcntl(copy.fileno(), fcntl.F_ADD_SEALS, _SEALS)
        yield copy.fileno()


def is_intact(file: Path, deb: Deb) -> bool:
    """Return whether a file is the package."""
    try:
        with verified_copy(file, deb):
            return True
    except (OSError, WrongPackage):
        return False


def _wrong(deb: Deb, why: str) -> WrongPackage:
    return WrongPackage(
        f"the downloaded file {deb.file} is not the package {deb.package} {deb.version}: {why}",
        "run it again: the file was removed and is downloaded again",
    )


def _memory_file(name: str) -> BinaryIO:
    return os.fdopen(os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb")
