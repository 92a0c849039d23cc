"""A Python for musl: built from Debian's sources, in a machine of Debian's packages.

apt in that machine downloads the sources. It verifies the signatures of the suites, with the keys of
Debian, and the hash of each archive. The machine that runs the tests needs no compiler. The result
stays in the store of images, whose manifest shows damage, until this file changes or
`foothold images prune` removes it. The first build takes 4.5 minutes of processor time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from foothold_lab.images.cache import Cache
from tests.hosts.machine import Distribution, Machine, machine

LOADER = "lib/ld-musl-x86_64.so.1"
_BUILD = "/build"  # directory with a directory for each source
_PREFIX = (
    "/opt/musl"  # directory of the libraries, all static: the Python needs no library but musl
)
_HEADERS = "usr/include/x86_64-linux-musl"
_COMPILER = "usr/local/bin/musl-cc"
# Python compares this answer with the libc that the compiler has
_COMPILER_SCRIPT = """\
#!/bin/sh
[ "$1" = --print-multiarch ] && exec echo x86_64-linux-musl
exec musl-gcc "$@"
"""
# Alpine's Python has this stack for threads; that of musl has 128 KiB
_PYTHON_FLAGS = "-DNDEBUG -DTHREAD_STACK_SIZE=0x100000"
_SPACE = 2 << 30  # bytes of disk
_APT = ("apt-get", "-q", "-oAPT::Sandbox::User=root")
_QUIET = ("-q", f"--prefix={_PREFIX}", "--disable-shared")
# by source package: the commands that build it, in this order
_COMMANDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "zlib": (("./configure", "--static", f"--prefix={_PREFIX}"), ("make", "install")),
    "bzip2": (("make", "install", "CC=musl-cc", "CFLAGS=-O2 -fPIC", f"PREFIX={_PREFIX}"),),
    "xz-utils": (
        ("./configure", *_QUIET, "--disable-doc", "--disable-nls", "--disable-scripts",
         "--disable-xz", "--disable-xzdec", "--disable-lzmadec", "--disable-lzmainfo"),
        ("make", "install"),
    ),
    # its header for temporary files of trampolines is one of glibc
    "libffi": (
        ("./configure", *_QUIET, "--disable-docs", "--disable-exec-static-tramp",
         "--disable-multi-os-directory"),
        ("make", "install"),
    ),
    "sqlite3": (
        ("./configure", *_QUIET, "--disable-readline", "--disable-tcl"),
        ("make", "lib_install", "sqlite3.h", "BCC=musl-cc"),
        ("cp", "sqlite3.h", f"{_PREFIX}/include"),
    ),
    "openssl": (
        ("./Configure", "linux-x86_64", f"--prefix={_PREFIX}", "--libdir=lib",
         "--openssldir=/etc/ssl", "no-shared", "no-tests", "no-module", "no-legacy", "no-engine",
         "no-dso", "no-comp", "no-afalgeng", "no-dtls", "no-ssl3", "no-weak-ssl-ciphers",
         *(f"no-{each}" for each in (
             "aria", "bf", "camellia", "cast", "cmp", "ct", "des", "dsa", "gost", "idea", "md4",
             "mdc2", "rc2", "rc4", "rmd160", "seed", "siphash", "siv", "sm2", "sm3", "sm4", "srp",
             "srtp", "ts", "whirlpool"))),
        ("make", "build_generated"),
        ("make", "libcrypto.a", "libssl.a"),
        ("make", "install_dev"),
    ),
    "python3.13": (
        ("./configure", "-q", "--prefix=/usr", f"--with-openssl={_PREFIX}", "--with-ensurepip=no",
         "--disable-test-modules", "--without-static-libpython"),
        ("make",),
        ("make", "install", f"DESTDIR={_BUILD}/out"),
    ),
}  # fmt: skip
# Debian 12's OpenSSL has a third of the size, and its libffi has its configure script
_SUITES = {"openssl": "bookworm", "libffi": "bookworm"}
_BUILDER = Distribution(
    title="Debian 13 with musl's compiler",
    suite="trixie",
    packages=(
        "apt", "dpkg", "bzip2", "gcc", "linux-libc-dev", "make", "musl-tools", "perl", "tclsh",
        "xz-utils",
    ),
    release="ID=debian\n",
    files={
        "etc/apt/sources.list": "deb-src MIRROR trixie main\ndeb-src MIRROR bookworm main\n",
        _COMPILER: _COMPILER_SCRIPT,
    },
)  # fmt: skip


def python_for_musl() -> Path:
    """Return a directory with usr/bin/python3, its standard library and musl. Build it if needed."""
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return Cache().obtain("musl-python", key, _build, space=_SPACE).path


def _build(out: Path) -> Mapping[str, object]:
    folder = out.with_name("builder")
    folder.mkdir()
    with machine(_BUILDER, folder) as host:
        _prepare(host.tree)
        archives = _sources(host)
        for name, commands in _COMMANDS.items():
            for argv in commands:
                _run(host, name, *argv)
        _keep(host.tree, out)
    return {"sources": archives}


def _prepare(tree: Path) -> None:
    """Complete what musl-gcc lacks: the headers of the kernel; and what installation makes of mawk."""
    (tree / _COMPILER).chmod(0o755)
    for name, place in {
        "asm": "x86_64-linux-gnu/asm",
        "asm-generic": "asm-generic",
        "linux": "linux",
    }.items():
        (tree / _HEADERS / name).symlink_to(f"../{place}")
    (tree / "usr/bin/awk").symlink_to("mawk")
    for name in ("archives", *_COMMANDS):
        (tree / _BUILD.lstrip("/") / name).mkdir(parents=True)


def _sources(host: Machine) -> Mapping[str, str]:
    """Download and unpack the sources, as upstream released them. Return the SHA256 of each archive."""
    _run(host, "archives", *_APT, "update")
    wanted = [f"{name}/{_SUITES[name]}" if name in _SUITES else name for name in _COMMANDS]
    _run(host, "archives", *_APT, "source", "--download-only", "--tar-only", *wanted)
    found = {}
    for name in _COMMANDS:
        [archive] = (host.tree / _BUILD.lstrip("/") / "archives").glob(f"{name}_*.orig.tar.*")
        found[archive.name] = hashlib.sha256(archive.read_bytes()).hexdigest()
        _run(host, name, "tar", "-x", "--strip-components=1", "-f", f"../archives/{archive.name}")
    return found


def _run(host: Machine, folder: str, *argv: str) -> None:
    """Run a command below the directory of the build."""
    environment = (
        "CC=musl-cc", "CFLAGS=-O2 -fPIC", f"OPT={_PYTHON_FLAGS}", f"CPPFLAGS=-I{_PREFIX}/include",
        f"LDFLAGS=-L{_PREFIX}/lib", f"MAKEFLAGS=-sj{len(os.sched_getaffinity(0))}",
        "PKG_CONFIG=false",
    )  # fmt: skip
    done = host.run("root", "env", f"--chdir={_BUILD}/{folder}", *environment, *argv)
    assert done.returncode == 0, f"{' '.join(argv)}: {(done.stdout + done.stderr)[-4000:]}"


def _keep(tree: Path, out: Path) -> None:
    """Copy Python and musl, without what serves the development of modules in C."""
    built = tree / _BUILD.lstrip("/") / "out/usr"
    skipped = shutil.ignore_patterns("*.opt-*.pyc", "config-*", "include", "share", "idlelib")
    shutil.copytree(built, out / "usr", symlinks=True, ignore=skipped)
    (out / LOADER).parent.mkdir()
    shutil.copy2((tree / LOADER).resolve(), out / LOADER)
