"""Debian's packages by the machine's own apt, of any suite, without touching the system.

Lists and downloads live in the cache; apt checks signatures and hashes. The mirror is taken from
the machine's apt configuration (`apt-get indextargets`), or from $FOOTHOLD_MIRROR.
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

from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError
from foothold_lab.images.progress import Say, silence

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FRESH = 12 * 3600  # seconds for which a suite's index is believed without asking again
# apt-get --print-uris: 'URI' file-name size SHA256:hash
_LINE = re.compile(
    r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$"
)


@dataclass(frozen=True, order=True)
class Deb:
    """One package as a suite has it; size in bytes."""

    package: str
    version: str
    suite: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class PackageSet:
    """Packages of one suite with all that they depend on, of which `only` (if any) are taken."""

    suite: str
    packages: tuple[str, ...]
    only: tuple[str, ...] = ()
    architecture: str = "amd64"

    @property
    def index(self) -> str:
        """What apt has an index of: a suite of an architecture."""
        return f"{self.suite}/{self.architecture}"

    @property
    def name(self) -> str:
        """The set's name in a lock file."""
        return f"{self.index}: {' '.join(self.packages)}"


def absent() -> str | None:
    """Say what is missing on this machine to take Debian's packages, or None. Asks nobody."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            return f"{tool} is not on this machine"
    if not KEYRING.exists():
        return f"{KEYRING} is missing (package debian-archive-keyring)"
    return None


def available() -> str | None:
    """Say why packages cannot be had on this machine, or None if they can."""
    if why := absent():
        return why
    try:
        mirror()
    except ImageError as error:
        return str(error)
    return None


def mirror() -> str:
    """Return the address of a Debian archive. Raises ImageError if the machine names none."""
    if chosen := os.environ.get("FOOTHOLD_MIRROR"):
        return chosen.rstrip("/")
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(REPO_URI)"]
    try:
        listed = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ImageError(f"apt does not answer: {error}", "set FOOTHOLD_MIRROR") from error
    suites = re.compile(r"^(bookworm|trixie|forky|sid|stable|testing|unstable|oldstable)$")
    found = []
    for line in listed.splitlines():
        origin, _, rest = line.partition("|")
        release, _, uri = rest.partition("|")
        # a machine that has never run `apt-get update` does not know the origin yet
        if origin in ("Debian", "") and suites.match(release) and uri:
            found.append(uri.rstrip("/"))
    if not found:
        raise ImageError(
            "this machine's apt configuration names no Debian archive",
            "set FOOTHOLD_MIRROR to the address of one",
        )
    return found[0]


class Apt:
    """Packages for the images of one cache."""

    def __init__(self, cache: Cache, say: Say = silence) -> None:
        self._cache = cache
        self._say = say
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self.debs = cache.root / "debs"

    def stop(self) -> None:
        """End the downloads that are under way. May be called from another thread."""
        self._stopped = True
        for process in list(self._running):
            process.terminate()

    def resolve(self, wanted: PackageSet, *, refresh: bool = False) -> list[Deb]:
        """Name every package of the set as the suite has it now.

        The suite's index is fetched if it is older than FRESH seconds, or if `refresh`.
        """
        self._update(wanted, refresh=refresh)
        with self._cache.locked(self._lock(wanted)) as descriptor:
            # an empty archive directory: apt leaves out of the list what it has already
            nowhere = self._state(wanted) / "nowhere"
            (nowhere / "partial").mkdir(parents=True, exist_ok=True)
            output = self._apt(
                wanted,
                descriptor,
                "-o",
                f"Dir::Cache::archives={nowhere}",
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
                    package,
                    unquote(version),
                    wanted.suite,
                    match["file"],
                    int(match["size"]),
                    match["sha256"],
                )
            )
        if not debs:
            raise ImageError(
                f"{wanted.suite} has no {' '.join(wanted.packages)}",
                "is the mirror a complete Debian archive? It is FOOTHOLD_MIRROR, or what apt uses",
            )
        return sorted(debs)

    def fetch(self, wanted: PackageSet, debs: Sequence[Deb]) -> list[Path]:
        """Download what is not there yet, verified by apt; answer the files in the order given."""
        missing = [deb for deb in debs if not self.has(deb)]
        if missing:
            total = sum(deb.size for deb in missing)
            what = f"downloading {len(missing)} packages of {wanted.suite}"
            self._say(f"{what}, {total >> 20} MiB")
            started = time.monotonic()
            self._update(wanted, refresh=False)
            with self._cache.locked(self._lock(wanted)) as descriptor:
                (self.debs / "partial").mkdir(parents=True, exist_ok=True)
                with self._told(what, total) as status:
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
            self._say(f"downloaded {total >> 20} MiB in {time.monotonic() - started:.1f} s")
        lost = [deb.file for deb in debs if not self.has(deb)]
        if lost:
            raise ImageError(f"apt did not deliver {', '.join(lost)}", "try again")
        return [self.debs / deb.file for deb in debs]

    @contextlib.contextmanager
    def _told(self, what: str, total: int) -> Iterator[int]:
        """A descriptor on which apt-get says how far it is, which is passed on."""
        read, write = os.pipe()

        def listen() -> None:
            told = -1
            with os.fdopen(read, "rb") as lines:
                for line in lines:
                    # dlstatus:FILES:PERCENT:TEXT, README.progress-reporting of apt
                    word, _, percent, *_ = [*line.split(b":"), b"", b""]
                    with contextlib.suppress(ValueError, ImageError):  # nobody waits any more
                        done = int(total * float(percent) / 100) >> 20
                        if word == b"dlstatus" and done != told:
                            told = done
                            self._say(f"{what}, {done} of {total >> 20} MiB", passing=True)

        listener = threading.Thread(target=listen, name="download", daemon=True)
        listener.start()
        try:
            yield write
        finally:
            os.close(write)
            listener.join()

    def has(self, deb: Deb) -> bool:
        """Is the package's file here? (apt has verified it before it moved it here.)"""
        path = self.debs / deb.file
        return path.is_file() and path.stat().st_size == deb.size

    def unpack(self, files: Sequence[Path], tree: Path) -> None:
        """Unpack packages over one another below `tree`; no script of theirs is run."""
        tree.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files, 1):
            self._say(f"unpacking {number} of {len(files)} packages", passing=True)
            done = subprocess.run(
                ["dpkg-deb", "--extract", file, tree], capture_output=True, text=True, check=False
            )
            if done.returncode and "No space left" in done.stderr:
                raise OSError(28, "No space left on device", str(tree))
            if done.returncode:
                file.unlink(missing_ok=True)
                raise ImageError(
                    f"{file.name} cannot be unpacked: {done.stderr.strip()}",
                    "it has been removed from the cache: try again",
                )

    def _lock(self, wanted: PackageSet) -> str:
        return f"apt-{wanted.suite}-{wanted.architecture}"

    def _state(self, wanted: PackageSet) -> Path:
        return self._cache.root / "apt" / f"{wanted.suite}-{wanted.architecture}"

    def _update(self, wanted: PackageSet, *, refresh: bool) -> None:
        state = self._state(wanted)
        stamp = state / "updated"
        with self._cache.locked(self._lock(wanted), say=self._say) as descriptor:
            source = f"deb [signed-by={KEYRING}] {mirror()} {wanted.suite} main\n"
            known = (state / "sources.list").is_file() and stamp.is_file()
            known = known and (state / "sources.list").read_text() == source and not refresh
            if known and 0 <= time.time() - stamp.stat().st_mtime < FRESH:
                return
            self._say(f"fetching the package index of {wanted.index}")
            (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (state / "status").touch()
            (state / "sources.list").write_text(source)
            try:
                self._apt(wanted, descriptor, "update")
            except ImageError as error:
                if not known:
                    raise
                self._say(f"{error}; going on with what is known of it")
                return
            stamp.touch()

    def _apt(
        self, wanted: PackageSet, held: int, *arguments: str, keep: tuple[int, ...] = ()
    ) -> str:
        """Run apt-get; it holds the lock as well, so that it is safe should we be killed."""
        state = self._state(wanted)
        options = {
            "APT::Architecture": wanted.architecture,
            "APT::Architectures": wanted.architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::ForceHash": "sha256",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
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
        with subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(held, *keep),
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        ) as process:
            self._running.add(process)
            if self._stopped:  # between the last look and now
                process.terminate()
            try:
                output, errors = process.communicate()
            except BaseException:
                process.kill()
                raise
            finally:
                self._running.discard(process)
        if process.returncode:
            reason = [line for line in errors.splitlines() if line.startswith("E:")]
            text = "; ".join(reason[:3]) or errors.strip()[-500:]
            if "No space left" in errors or "enough free space" in errors:
                raise OSError(28, "No space left on device", str(state))
            raise ImageError(
                f"apt-get {arguments[0]} of {wanted.index} failed: {text}",
                "is the mirror reachable? It is what apt uses, or FOOTHOLD_MIRROR; while one is "
                "renewed, a suite of it may be broken for hours: try again later",
            )
        return output
