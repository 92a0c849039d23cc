"""Builds images from recipes, locked packages and the cache."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from foothold_lab.images import lock, own_apt, registry
from foothold_lab.images.apt import Apt, Deb, PackageSet
from foothold_lab.images.cache import DEBS, WHEELS, Cache, Entry, size_of
from foothold_lab.images.catalogue import RECIPES
from foothold_lab.images.errors import ImageError, SuiteChanged, WrongPackage
from foothold_lab.images.manifest import Manifest
from foothold_lab.images.mirror import CHOOSE_MIRROR
from foothold_lab.images.progress import Progress, no_progress
from foothold_lab.images.recipes import Materials, Recipe, release
from foothold_lab.images.registry import RegistryFile

_OWN_APT = PackageSet(suite=own_apt.SUITE, packages=own_apt.PACKAGES, only=own_apt.SELECTED)
_KERNEL = re.compile(r"linux-(?:image|binary)-(\d+\.\d+)")  # the name of a package with a kernel


class Builder:
    """Builds images, or finds them in the cache.

    `locked` refuses packages that are not in the lock. `progress` receives messages.
    """

    def __init__(
        self,
        cache: Cache | None = None,
        *,
        locked: bool = False,
        progress: Progress = no_progress,
        recipes: Mapping[str, Recipe] = RECIPES,
    ) -> None:
        self.cache = cache or Cache()
        self._progress = progress
        self._stopped = threading.Event()
        self._apt = Apt(self.cache, self.progress)
        self._downloads = self.cache.root / WHEELS  # and packages of npm
        self._cache_lock = self.cache.root / "lock.json"
        self._locked = locked
        self._recipes = recipes
        self._checked: dict[str, Entry] = {}
        self._pinned: dict[str, Entry] = {}
        # downloaded files from which this builder has built an image
        self._spent: set[Path] = set()

    def progress(self, what: str, /, *, transient: bool = False) -> None:
        """Report progress. Raises ImageError if the builder has been stopped, which ends a build at
        its next step.
        """
        if self._stopped.is_set():
            raise ImageError("the build was stopped", "run it again: finished images are kept")
        self._progress(what, transient=transient)

    @property
    def is_locked(self) -> bool:
        """Does it refuse packages that are not in the lock?"""
        return self._locked

    def stop(self) -> None:
        """Stop building: end the current download now and the current build at its next step.
        May be called from another thread.
        """
        self._stopped.set()
        self._apt.stop()

    def discard_downloads(self) -> None:
        """Remove the downloaded files from which this builder has built images, and the package
        indexes. The images stay.

        Call it when all images are built, because they share packages.
        """
        spent, self._spent = self._spent, set()
        if spent:
            self.cache.discard_downloads(spent)

    def image(self, name: str) -> Path:
        """Return the directory of an image. Builds it and the images that it needs if necessary."""
        return self.entry(name).path

    def entry(self, name: str) -> Entry:
        """As `image`, with the manifest. An image is checked for damage once in each process."""
        if name not in self._checked:
            self._checked[name] = self._obtain(self._recipe(name))
        return self._checked[name]

    def build_again(self, name: str) -> tuple[Entry, Manifest]:
        """Return an image, and the manifest of a second build from the same packages and images."""
        entry, recipe = self.entry(name), self._recipe(name)
        needs = {each: self.entry(each) for each in recipe.needs}
        make = self._maker(recipe, self.packages(name), needs, entry.path)
        return entry, self.cache.build_again(entry, make, space=recipe.space)

    def obtain(
        self,
        name: str,
        key: str,
        build: Callable[[Path], Mapping[str, object]],
        *,
        space: int = 0,
    ) -> Entry:
        """Return a cache entry that has no recipe; see `Cache.obtain`."""
        return self.cache.obtain(name, key, build, space=space, progress=self.progress)

    def _obtain(self, recipe: Recipe) -> Entry:
        self.cache.check_place()
        needs = {each: self.entry(each) for each in recipe.needs}
        debs = self.packages(recipe.name)
        while True:
            keys = {name: entry.manifest.key for name, entry in needs.items()}
            key = _key(recipe, debs, keys, self.cache.root)
            if entry := self.cache.get(recipe.name, key):
                return entry
            try:
                return self._build(recipe, debs, needs, key)
            except SuiteChanged as change:
                if self._locked:
                    raise
                debs = self._lock_current(recipe, change)

    def pin(self, name: str, directory: str) -> None:
        """Use the cache entry with this directory name for an image, instead of building it.
        Raises ImageError if the cache no longer has it, or if it is not an entry of that image.
        """
        recipe = self._recipe(name)
        entry = self.cache.find(directory)
        if entry is None or entry.manifest.name != recipe.name:
            raise ImageError(
                f"the cache no longer has the image {directory}",
                "run the cell again with the current images",
            )
        self._checked[name] = self._pinned[name] = entry

    def ready(self, name: str) -> bool:
        """Return whether the image is in the cache and intact. Does not download or build."""
        recipe = self._recipe(name)
        if name in self._checked:
            return True
        self.cache.check_place()
        if recipe.packages and not lock.locked_packages(recipe.packages, self._cache_lock):
            return False
        if not all(self.ready(each) for each in recipe.needs):
            return False
        needs = {each: self.entry(each).manifest.key for each in recipe.needs}
        key = _key(recipe, self.packages(name), needs, self.cache.root)
        entry = self.cache.get(name, key)
        if entry:
            self._checked[name] = entry
        return entry is not None

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the names of those of these images, and of those that they need, that are not in
        the cache. Does not download or build.
        """
        found: dict[str, None] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found and not self.ready(name):
                found[name] = None
                waiting += self.needs(name)
        return list(found)

    def download_size(self, names: Iterable[str]) -> int:
        """Return the bytes of locked packages that these images need and the cache lacks. Does not
        download or build.
        """
        missing: set[Deb | RegistryFile] = set()
        for recipe in map(self._recipe, self.missing(names)):
            if recipe.packages:
                debs = lock.locked_packages(recipe.packages, self._cache_lock)
                missing.update(deb for deb in debs if not self._apt.has(deb))
            missing.update(
                each for each in _registry_files(recipe) if not registry.find(each, self._downloads)
            )
        return sum(each.size for each in missing)

    def packages(self, name: str) -> list[Deb]:
        """Return the packages of an image. Asks the mirror only if they are not locked."""
        if pinned := self._pinned.get(name):
            return msgspec.convert(pinned.manifest.provenance["packages"], list[Deb])
        recipe = self._recipe(name)
        if recipe.packages is None:
            return []
        if debs := lock.locked_packages(recipe.packages, self._cache_lock):
            return debs
        debs = self._apt.resolve(recipe.packages)
        lock.remember(recipe.packages, debs, self._cache_lock)
        return debs

    def versions(self, name: str) -> dict[str, str]:
        """Return the packages of an image and of the images that it is made with, and their versions."""
        found: dict[str, str] = {}
        for each in self.needs(name):
            found |= self.versions(each)
        return found | {deb.package: deb.version for deb in self.packages(name)}

    def needs(self, name: str) -> tuple[str, ...]:
        """Return the images that an image is made with."""
        return self._recipe(name).needs

    def registry_files(self, name: str) -> tuple[RegistryFile, ...]:
        """Return the files of package registries that an image is made of."""
        return _registry_files(self._recipe(name))

    def set_name(self, name: str) -> str:
        """Return the name in a lock of the packages of an image, empty for one without packages."""
        packages = self._recipe(name).packages
        return packages.name if packages else ""

    def kernel_release(self, name: str) -> str:
        """Return the release (`6.12`) of the kernel in an image. Does not build it."""
        debs = self.packages(name)
        named = filter(None, (_KERNEL.match(deb.package) for deb in debs))
        return next((match[1] for match in named), "") or release(debs)

    def update(self, names: Iterable[str]) -> list[str]:
        """Lock the current packages of the suites. Returns a description of each change."""
        changes = []
        for name in names:
            wanted = self._recipe(name).packages
            if wanted is None:
                continue
            old, new = self.packages(name), self._apt.resolve(wanted, refresh=True)
            if old != new:
                lock.remember(wanted, new, self._cache_lock)
                changes.append(f"{name}: {lock.difference(old, new)}")
        self._checked.clear()
        return changes

    def locks(self) -> lock.LockFile:
        """Return the packages of every image, as the lock file of a release."""
        sets = [recipe.packages for recipe in self._recipes.values() if recipe.packages]
        names = [name for name, recipe in self._recipes.items() if recipe.packages]
        found: dict[str, set[Deb]] = {each.name: set() for each in sets}
        for each, name in zip(sets, names, strict=True):
            found[each.name].update(self.packages(name))
        return lock.LockFile(
            sets={name: sorted(debs) for name, debs in found.items()},
            apt=self._apt.archive_files(_OWN_APT),
        )

    def keys(self, root: Path, lock_file: Path) -> dict[str, str]:
        """Return the key of each image with locked packages, for a store in `root` with that lock."""
        found: dict[str, str] = {}

        def add(recipe: Recipe) -> None:
            debs = []
            if recipe.packages:
                debs = lock.locked_packages(recipe.packages, lock_file)
            for name in recipe.needs:
                if name not in found:
                    add(self._recipe(name))
            if (debs or not recipe.packages) and all(name in found for name in recipe.needs):
                needs = {name: found[name] for name in recipe.needs}
                found[recipe.name] = _key(recipe, debs, needs, root)

        for recipe in self._recipes.values():
            add(recipe)
        return found

    def in_use(self) -> frozenset[Path]:
        """Return the cache entries of all current recipes with locked packages."""
        found = {self.entry(name).path for name in self._recipes if self.ready(name)}
        return frozenset(found | {own_apt.image_path(self.cache)})

    def _recipe(self, name: str) -> Recipe:
        try:
            return self._recipes[name]
        except KeyError:
            raise ImageError(
                f"unknown image {name!r}", f"images are: {', '.join(self._recipes)}"
            ) from None

    def _build(
        self, recipe: Recipe, debs: list[Deb], needs: Mapping[str, Entry], key: str
    ) -> Entry:
        make = self._maker(recipe, debs, needs, self.cache.path(recipe.name, key))
        return self.cache.obtain(recipe.name, key, make, space=recipe.space, progress=self.progress)

    def _maker(
        self, recipe: Recipe, debs: list[Deb], needs: Mapping[str, Entry], target: Path
    ) -> Callable[[Path], Mapping[str, object]]:
        """Return what fills the directory of an image. `target`: its path when it is finished."""

        def make(out: Path) -> Mapping[str, object]:
            started = time.monotonic()
            packages = out.parent / "packages"
            with self.cache.downloads_kept():
                self._check_lock(recipe, debs)
                self.progress(f"building {recipe.name}")
                if recipe.packages:
                    self._unpack(recipe, recipe.packages, debs, packages)
                used = [self.cache.root / DEBS / deb.file for deb in debs]
                for file in _registry_files(recipe):
                    used.append(registry.install(file, self._downloads, packages, self.progress))
            materials = Materials(
                packages=packages,
                images={name: entry.path for name, entry in needs.items()},
                target=target,
                port=recipe.port,
                progress=self.progress,
            )
            recipe.make(materials, out)
            self._spent.update(used)
            size, seconds = size_of(out) >> 20, time.monotonic() - started
            self.progress(f"built {recipe.name} in {seconds:.1f} s: {size} MiB")
            return {
                "packages": msgspec.to_builtins(debs),
                "images": {name: entry.manifest.key for name, entry in needs.items()},
            }

        return make

    def _unpack(self, recipe: Recipe, wanted: PackageSet, debs: list[Deb], packages: Path) -> None:
        """Download and unpack packages. A file that was replaced is downloaded again."""
        for remaining in reversed(range(len(debs) + 1)):
            self._apt.fetch(wanted, debs)
            try:
                self._apt.unpack(debs, packages)
                break
            except WrongPackage as error:
                if not remaining:
                    raise
                self.progress(f"{error}; downloading it again")
            self._check_lock(recipe, debs)

    def _check_lock(self, recipe: Recipe, debs: list[Deb]) -> None:
        """Raise SuiteChanged if a package that must be downloaded is no longer in its suite."""
        if recipe.packages is None or all(self._apt.has(deb) for deb in debs):
            return
        current = self._apt.resolve(recipe.packages)
        if not set(debs) <= set(current):
            raise SuiteChanged(
                f"{recipe.packages.suite} has changed since the lock of image {recipe.name} was "
                f"made: {lock.difference(debs, current)}",
                "`foothold images build --update` takes the current packages of the suite",
            )

    def _lock_current(self, recipe: Recipe, change: SuiteChanged) -> list[Deb]:
        assert recipe.packages is not None
        current = self._apt.resolve(recipe.packages)
        locked = lock.locked_packages(recipe.packages, self._cache_lock)
        if older := self._apt.older_packages(locked, current):
            names = ", ".join(f"{deb.package} {deb.version}" for deb in older)
            raise ImageError(
                f"{change}; these are older than the locked versions: {names}",
                f"{CHOOSE_MIRROR}; or accept them with `foothold images build --update`",
            ) from change
        lock.remember(recipe.packages, current, self._cache_lock)
        self.progress(f"{change}; building with its current packages")
        return current


def _key(recipe: Recipe, debs: list[Deb], needs: Mapping[str, str], root: Path) -> str:
    """Hash all inputs, with the keys of the images that it needs, and the directory of the store:
    tools contain the path of their loader.
    """
    material = {
        "recipe": recipe.name,
        "port": msgspec.to_builtins(recipe.port),
        "sources": [hashlib.sha256(path.read_bytes()).hexdigest() for path in recipe.sources],
        "packages": [deb.sha256 for deb in debs]
        + [registry.digest(each) for each in _registry_files(recipe)],
        "needs": dict(needs),
        "place": str(root),
    }
    return hashlib.sha256(msgspec.json.encode(material, order="sorted")).hexdigest()


def _registry_files(recipe: Recipe) -> tuple[RegistryFile, ...]:
    return (*recipe.wheels, *registry.files_of(recipe.name))
