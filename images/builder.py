"""Recipe + lock + cache = an image on disk."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from foothold_lab.images import lock
from foothold_lab.images.apt import Apt, Deb
from foothold_lab.images.cache import Cache, Entry, size_of
from foothold_lab.images.catalogue import RECIPES
from foothold_lab.images.errors import ImageError, MovedOn
from foothold_lab.images.progress import Say, silence
from foothold_lab.images.recipes import Materials, Recipe, release


class Builder:
    """Makes images, or finds that they are made.

    `locked` refuses packages that the lock does not know; `say` is told what takes time.
    """

    def __init__(
        self,
        cache: Cache | None = None,
        *,
        locked: bool = False,
        say: Say = silence,
        recipes: Mapping[str, Recipe] = RECIPES,
    ) -> None:
        self.cache = cache or Cache()
        self._say = say
        self._stopped = threading.Event()
        self._apt = Apt(self.cache, self.say)
        self._own_lock = self.cache.root / "lock.json"
        self._locked = locked
        self._recipes = recipes
        self._checked: dict[str, Entry] = {}
        self._pinned: dict[str, Entry] = {}

    def say(self, what: str, /, *, passing: bool = False) -> None:
        """Tell what takes time. Raises ImageError when the builder has been stopped: so whatever is
        being built ends at its next step.
        """
        if self._stopped.is_set():
            raise ImageError("it was stopped", "run it again: what is finished is kept")
        self._say(what, passing=passing)

    def stop(self) -> None:
        """Build nothing more: end what is being downloaded now, and what is built at its next step.
        May be called from another thread.
        """
        self._stopped.set()
        self._apt.stop()

    def image(self, name: str) -> Path:
        """Return the directory of a finished image, making it and all that it needs if need be."""
        return self.entry(name).path

    def entry(self, name: str) -> Entry:
        """As `image`, with its manifest. An image is checked for damage once in our life."""
        if name not in self._checked:
            self._checked[name] = self._obtain(self._recipe(name))
        return self._checked[name]

    def obtain(
        self,
        name: str,
        key: str,
        build: Callable[[Path], Mapping[str, object]],
        *,
        need: int = 0,
    ) -> Entry:
        """Return an entry of the cache that no recipe makes; see `Cache.obtain`."""
        return self.cache.obtain(name, key, build, need=need, say=self.say)

    def _obtain(self, recipe: Recipe) -> Entry:
        needs = {each: self.entry(each) for each in recipe.needs}
        debs = self.packages(recipe.name)
        while True:
            key = self._key(recipe, debs, needs)
            if entry := self.cache.get(recipe.name, key):
                return entry
            try:
                return self._build(recipe, debs, needs, key)
            except MovedOn as moved:
                if self._locked:
                    raise
                debs = self._take_what_is_there(recipe, debs, moved)

    def pin(self, name: str, directory: str) -> None:
        """Take this entry of the cache for an image, by the name of its directory, whatever today's
        recipe would make. Raises ImageError if the cache has it no longer.
        """
        entry = self.cache.named(directory)
        if entry is None:
            raise ImageError(
                f"the cache no longer has the image {directory}",
                "today's images can be had: run the cell anew",
            )
        self._checked[name] = self._pinned[name] = entry

    def ready(self, name: str) -> bool:
        """Is the image in the cache, undamaged? Asks no mirror, builds nothing."""
        recipe = self._recipe(name)
        if name in self._checked:
            return True
        if recipe.packages and not lock.chosen(recipe.packages, self._own_lock):
            return False
        if not all(self.ready(each) for each in recipe.needs):
            return False
        needs = {each: self.entry(each) for each in recipe.needs}
        entry = self.cache.get(name, self._key(recipe, self.packages(name), needs))
        if entry:
            self._checked[name] = entry
        return entry is not None

    def to_download(self, names: Iterable[str]) -> int:
        """Bytes of packages that building these images would download, as far as the locks know
        them. Asks no mirror, builds nothing.
        """
        missing: set[Deb] = set()
        waiting = list(names)
        while waiting:
            recipe = self._recipe(waiting.pop())
            if self.ready(recipe.name):
                continue
            waiting += recipe.needs
            if recipe.packages:
                debs = lock.chosen(recipe.packages, self._own_lock)
                missing.update(deb for deb in debs if not self._apt.has(deb))
        return sum(deb.size for deb in missing)

    def packages(self, name: str) -> list[Deb]:
        """Name the packages that go into an image; asks the mirror only if no lock knows them."""
        if pinned := self._pinned.get(name):
            return msgspec.convert(pinned.manifest.provenance["packages"], list[Deb])
        recipe = self._recipe(name)
        if recipe.packages is None:
            return []
        if debs := lock.chosen(recipe.packages, self._own_lock):
            return debs
        debs = self._apt.resolve(recipe.packages)
        lock.choose(recipe.packages, debs, self._own_lock)
        return debs

    def uml_release(self, name: str) -> str:
        """Return the release (`6.12`) of a UML kernel image; builds nothing."""
        return release(self.packages(name))

    def update(self, names: Iterable[str]) -> list[str]:
        """Take what the suites have now; answer what has changed, in words."""
        changes = []
        for name in names:
            wanted = self._recipe(name).packages
            if wanted is None:
                continue
            old, new = self.packages(name), self._apt.resolve(wanted, refresh=True)
            if old != new:
                lock.choose(wanted, new, self._own_lock)
                changes.append(f"{name}: {lock.difference(old, new)}")
        self._checked.clear()
        return changes

    def locks(self) -> lock.LockFile:
        """Return what goes into every image, as the lock of a release."""
        sets = [recipe.packages for recipe in self._recipes.values() if recipe.packages]
        names = [name for name, recipe in self._recipes.items() if recipe.packages]
        return lock.LockFile(
            sets={each.name: self.packages(name) for each, name in zip(sets, names, strict=True)}
        )

    def in_use(self) -> frozenset[Path]:
        """Name the entries that the recipes of today ask for, as far as the locks know them."""
        return frozenset(self.entry(name).path for name in self._recipes if self.ready(name))

    def _recipe(self, name: str) -> Recipe:
        try:
            return self._recipes[name]
        except KeyError:
            raise ImageError(
                f"there is no image {name!r}", f"images are: {', '.join(self._recipes)}"
            ) from None

    def _key(self, recipe: Recipe, debs: list[Deb], needs: Mapping[str, Entry]) -> str:
        """Hash all that goes in; the cache's place as well, since tools name their loader by it."""
        material = {
            "recipe": recipe.name,
            "port": msgspec.to_builtins(recipe.port),
            "sources": [hashlib.sha256(path.read_bytes()).hexdigest() for path in recipe.sources],
            "packages": [deb.sha256 for deb in debs],
            "needs": {name: entry.manifest.key for name, entry in needs.items()},
            "place": str(self.cache.root),
        }
        return hashlib.sha256(msgspec.json.encode(material, order="sorted")).hexdigest()

    def _build(
        self, recipe: Recipe, debs: list[Deb], needs: Mapping[str, Entry], key: str
    ) -> Entry:
        def make(out: Path) -> Mapping[str, object]:
            self._check_lock(recipe, debs)
            self.say(f"building {recipe.name}")
            started = time.monotonic()
            with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
                packages = Path(scratch) / "packages"
                if recipe.packages:
                    self._apt.unpack(self._apt.fetch(recipe.packages, debs), packages)
                images = {name: entry.path for name, entry in needs.items()}
                target = self.cache.path(recipe.name, key)
                recipe.make(Materials(packages, images, target, recipe.port, self.say), out)
            size, seconds = size_of(out) >> 20, time.monotonic() - started
            self.say(f"built {recipe.name} in {seconds:.1f} s: {size} MiB")
            return {
                "packages": msgspec.to_builtins(debs),
                "images": {name: entry.manifest.key for name, entry in needs.items()},
            }

        return self.cache.obtain(recipe.name, key, make, need=recipe.space, say=self.say)

    def _check_lock(self, recipe: Recipe, debs: list[Deb]) -> None:
        """Raise MovedOn if a package that is not here yet is no longer in its suite."""
        if recipe.packages is None or all(self._apt.has(deb) for deb in debs):
            return
        there = self._apt.resolve(recipe.packages)
        if not set(debs) <= set(there):
            raise MovedOn(
                f"{recipe.packages.suite} has moved on since the lock of image {recipe.name} was "
                f"made: {lock.difference(debs, there)}",
                "`foothold images build --update` takes what the suite has now",
            )

    def _take_what_is_there(self, recipe: Recipe, old: list[Deb], moved: MovedOn) -> list[Deb]:
        assert recipe.packages is not None
        new = self._apt.resolve(recipe.packages)
        lock.choose(recipe.packages, new, self._own_lock)
        self.say(f"{moved}; building with what it has now")
        return new
