"""Debian packages of any suite, downloaded by the apt of this machine without changing the system.

Package indexes and downloads are in the cache. apt checks signatures and hashes. The mirror is that
of the machine's apt configuration (`apt-get indextargets`), or $FOOTHOLD_MIRROR.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from foothold_lab.images import processes
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError
from foothold_lab.images.progress import Progress, no_progress

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FRESH = 12 * 3600  # seconds after which a suite's index is downloaded again
TIMEOUT = 20  # seconds that a connection may take to open, or may be silent
RETRIES = 2  # after a failed connection
# apt-get --print-uris: 'URI' file-name size SHA256:hash
_LINE = re.compile(
    r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$"
)


@dataclass(frozen=True, order=True, kw_only=True)
class Deb:
    """One package of a suite. Size in bytes."""

    package: str
    version: str
    suite: str
    file: str
    size: int
    sha256: str


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

    @property
    def name(self) -> str:
        """Name the set in a lock file."""
        return f"{self.index}: {' '.join(self.packages)}"


def missing_tool() -> str | None:
    """Say what this machine lacks to use Debian packages, None if nothing. Needs no network."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if not KEYRING.exists():
        return f"{KEYRING} is missing (package debian-archive-keyring)"
    return None


def unavailable_reason() -> str | None:
    """Say why this machine cannot download Debian packages, None if it can."""
    if why := missing_tool():
        return why
    try:
        mirror()
    except ImageError as error:
        return str(error)
    return None


def mirror() -> str:
    """Return the address of a Debian archive. Raises ImageError if none is configured."""
    if chosen := os.environ.get("FOOTHOLD_MIRROR"):
        return chosen.rstrip("/")
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(REPO_URI)"]
    try:
        listed = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ImageError(
            f"`apt-get indextargets` failed: {error}",
            "set FOOTHOLD_MIRROR to the address of a Debian archive",
        ) from error
    suites = re.compile(r"^(bookworm|trixie|forky|sid|stable|testing|unstable|oldstable)$")
    found = []
    for line in listed.splitlines():
        origin, _, rest = line.partition("|")
        release, _, uri = rest.partition("|")
        # before the first `apt-get update` the origin is unknown
        if origin in ("Debian", "") and suites.match(release) and uri:
            found.append(uri.rstrip("/"))
    if not found:
        raise ImageError(
            "the apt configuration of this machine has no Debian archive",
            "set FOOTHOLD_MIRROR to the address of a Debian archive",
        )
    return found[0]


class Apt:
    """Downloads packages for the images of one cache."""

    def __init__(self, cache: Cache, progress: Progress = no_progress) -> None:
        self._cache = cache
        self._progress = progress
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._unreachable: set[str] = set()  # indexes that this process failed to update
        self.debs = cache.root / "debs"

    def stop(self) -> None:
        """End the current downloads. May be called from another thread."""
        self._stopped = True
        for process in list(self._running):
            process.terminate()

    def resolve(self, wanted: PackageSet, *, refresh: bool = False) -> list[Deb]:
        """Return the current packages of the set.

        Downloads the suite's index if it is older than FRESH seconds, or if `refresh`.
        """
        self._update(wanted, refresh=refresh)
        with self._cache.locked(self._lock(wanted)) as descriptor:
            # an empty archive directory, because apt does not list packages that it has already
            empty = self._state(wanted) / "empty"
            (empty / "partial").mkdir(parents=True, exist_ok=True)
            output = self._apt(
                wanted,
                descriptor,
                "-o",
                f"Dir::Cache::archives={empty}",
                "--print-uris",
                "--yes",
                "install",
                *wanted.packages,
            )
        debs = []
        for line in output.splitlines():
            if not (match := _LINE.match(line)):
                continue
            package, version, _ = match["file"].removesuffix(".deb").split("_")
            if wanted.only and not any(re.fullmatch(each, package) for each in wanted.only):
                continue
            debs.append(
                Deb(
                    package=package,
                    version=unquote(version),
                    suite=wanted.suite,
                    file=match["file"],
                    size=int(match["size"]),
                    sha256=match["sha256"],
                )
            )
        if not debs:
            raise ImageError(
                f"{wanted.suite} has no package {' '.join(wanted.packages)}",
                "use a complete Debian archive: set FOOTHOLD_MIRROR, or change apt's configuration",
            )
        return sorted(debs)

    def fetch(self, wanted: PackageSet, debs: Sequence[Deb]) -> list[Path]:
        """Download missing packages, verified by apt. Returns the files in the order of `debs`."""
        missing = [deb for deb in debs if not self.has(deb)]
        if missing:
            total = sum(deb.size for deb in missing)
            what = f"downloading {len(missing)} packages of {wanted.suite}"
            self._progress(f"{what}, {total >> 20} MiB")
            started = time.monotonic()
            self._update(wanted, refresh=False)
            with self._cache.locked(self._lock(wanted)) as descriptor:
                (self.debs / "partial").mkdir(parents=True, exist_ok=True)
                with self._download_progress(what, total) as status:
                    self._apt(
                        wanted,
                        descriptor,
                        "-o",
                        f"Dir::Cache::archives={self.debs}",
                        "-o",
                        f"APT::Status-Fd={status}",
                        "--download-only",
                        "--yes",
                        "install",
                        *(f"{deb.package}={deb.version}" for deb in missing),
                        keep=(status,),
                    )
            self._progress(f"downloaded {total >> 20} MiB in {time.monotonic() - started:.1f} s")
        absent = [deb.file for deb in debs if not self.has(deb)]
        if absent:
            raise ImageError(f"apt did not download {', '.join(absent)}", "try again")
        return [self.debs / deb.file for deb in debs]

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
        """Return whether the package is downloaded. apt verifies it before moving it here."""
        path = self.debs / deb.file
        return path.is_file() and path.stat().st_size == deb.size

    def unpack(self, files: Sequence[Path], tree: Path) -> None:
        """Unpack packages into `tree`, without running their scripts."""
        tree.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files, 1):
            self._progress(f"unpacking {number} of {len(files)} packages", transient=True)
            done = processes.run(["dpkg-deb", "--extract", file, tree])
            if done.returncode and "No space left" in done.stderr:
                raise OSError(28, "No space left on device", str(tree))
            if done.returncode:
                file.unlink(missing_ok=True)
                raise ImageError(
                    f"{file.name} cannot be unpacked: {done.stderr.strip()}",
                    "it was removed from the cache: try again",
                )

    def _lock(self, wanted: PackageSet) -> str:
        return f"apt-{wanted.suite}-{wanted.architecture}"

    def _state(self, wanted: PackageSet) -> Path:
        return self._cache.root / "apt" / f"{wanted.suite}-{wanted.architecture}"

    def _update(self, wanted: PackageSet, *, refresh: bool) -> None:
        state = self._state(wanted)
        stamp = state / "updated"
        with self._cache.locked(self._lock(wanted), progress=self._progress) as descriptor:
            source = f"deb [signed-by={KEYRING}] {mirror()} {wanted.suite} main\n"
            known = (state / "sources.list").is_file() and stamp.is_file()
            known = known and (state / "sources.list").read_text() == source and not refresh
            fresh = known and 0 <= time.time() - stamp.stat().st_mtime < FRESH
            if fresh or (known and wanted.index in self._unreachable):
                return
            self._progress(f"downloading the package index of {wanted.index}")
            (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (state / "status").touch()
            if not known:
                stamp.unlink(missing_ok=True)
                (state / "sources.list").write_text(source)
            try:
                self._apt(wanted, descriptor, "update")
            except ImageError as error:
                if not known:
                    raise
                self._unreachable.add(wanted.index)
                self._progress(f"{error}; using the index of the last download")
                return
            stamp.touch()

    def _apt(
        self, wanted: PackageSet, held: int, *arguments: str, keep: tuple[int, ...] = ()
    ) -> str:
        """Run apt-get. It also holds the lock, which stays held if this process is killed."""
        state = self._state(wanted)
        options = {
            "APT::Architecture": wanted.architecture,
            "APT::Architectures": wanted.architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::ForceHash": "sha256",
            "Acquire::Languages": "none",
            "Acquire::Retries": str(RETRIES),
            "Acquire::http::Timeout": str(TIMEOUT),
            "Acquire::https::Timeout": str(TIMEOUT),
            # else apt-get succeeds although an index could not be downloaded
            "APT::Update::Error-Mode": "any",
            "Acquire::Check-Valid-Until": "false",
            "APT::Update::Post-Invoke": "",
            "APT::Update::Post-Invoke-Success": "",
            "Debug::NoLocking": "true",
            "DPkg::Post-Invoke": "",
            "Dir::Cache": str(state),
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::Etc::SourceList": str(state / "sources.list"),
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State": str(state),
            "Dir::State::Lists": str(state / "lists"),
            "Dir::State::Status": str(state / "status"),
        }
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        argv = ["apt-get", "-qq", *flags, *arguments]
        with processes.started(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(held, *keep),
            env={**os.environ, "LC_ALL": "C"},
        ) as process:
            self._running.add(process)
            if self._stopped:  # after the last check
                process.terminate()
            output: str
            errors: str
            try:
                output, errors = process.communicate()
            finally:
                self._running.discard(process)
        if process.returncode:
            text = _reason(errors)
            if "No space left" in errors or "enough free space" in errors:
                raise OSError(28, "No space left on device", str(state))
            raise ImageError(
                f"apt-get {arguments[0]} of {wanted.index} failed: {text}",
                f"check that {mirror()} is reachable, or set FOOTHOLD_MIRROR to another Debian "
                "archive; while a mirror is being updated, try again later",
            )
        return output


def _reason(errors: str) -> str:
    """Select the messages that explain a failure of apt-get: what happened to the connection."""
    lines = [line for line in errors.splitlines() if line.startswith(("E:", "W:"))]
    failed = [line for line in lines if "Failed to fetch" in line or "Could not" in line]
    chosen = failed or [line for line in lines if line.startswith("E:")]
    return "; ".join(dict.fromkeys(chosen[:3])) or errors.strip()[-500:]
