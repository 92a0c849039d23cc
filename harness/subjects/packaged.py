"""The catalogue of packaged subjects by name: runtimes (images/runtimes.py), programs (programs.py),
programs of the survey (survey_programs.py) and probes (probes.py), each in an image.

A program for another machine is a separate subject; its name ends in Debian's port:
`go-hello-riscv64`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from foothold_lab.harness.subjects.packaged_program import IMAGE, PackagedProgram
from foothold_lab.harness.subjects.probes import PROBES
from foothold_lab.harness.subjects.programs import PROGRAMS
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.harness.subjects.survey_programs import SURVEY_PROGRAMS
from foothold_lab.images.builder import Builder
from foothold_lab.images.runtimes import PORTS

_UNPRIVILEGED = "nobody"  # each root file system has this user in /etc/passwd


def _java(title: str, *options: str) -> PackagedProgram:
    ready_pattern = "openjdk version" if options == ("-version",) else "^hello$"
    run = () if options == ("-version",) else ("-cp", IMAGE, "Hello")
    argv = (f"{IMAGE}/jdk/bin/java", *options, *run)
    package = "openjdk-25-jre-headless"
    return PackagedProgram(
        title=f"OpenJDK{title}",
        image="java",
        argv=argv,
        ready_pattern=ready_pattern,
        package=package,
    )


def _node(title: str, code: str) -> PackagedProgram:
    return PackagedProgram(
        title=title,
        image="node",
        argv=(f"{IMAGE}/usr/bin/node", "-e", code),
        starts_in_image=True,  # Debian's looks for usr//share/nodejs
        ready_pattern="^hello$",
        package="nodejs",
    )


def _c(title: str, program: str, package: str, **environment: str) -> PackagedProgram:
    return PackagedProgram(
        title=title,
        image="sanitizers",
        argv=(f"{IMAGE}/{program}",),
        ready_pattern="^allocated$",
        package=package,
        environment=environment,
    )


def _malloc(title: str, library: str, package: str) -> PackagedProgram:
    return PackagedProgram(
        title=title,
        image="allocators",
        argv=(f"{IMAGE}/allocate",),
        ready_pattern="^allocated$",
        package=package,
        environment={"LD_PRELOAD": f"{IMAGE}/lib/{library}"},
    )


_HERE: Mapping[str, PackagedProgram] = {
    "go-hello": PackagedProgram(title="Go", image="go", argv=(f"{IMAGE}/hello",), ready_pattern="^hello from 0x", package="golang-1.24-go"),
    "java-version": _java(" -version", "-version"),
    "java-hello": _java(""),
    "java-serial": _java(", serial collector", "-XX:+UseSerialGC"),
    "java-g1": _java(", G1", "-XX:+UseG1GC"),
    "java-zgc": _java(", ZGC", "-XX:+UseZGC"),
    "node-hello": _node("Node.js", 'console.log("hello")'),
    "node-wasm": _node(
        "Node.js, WebAssembly",
        'new WebAssembly.Memory({initial: 1}); console.log("hello")',
    ),
    "jsc-hello": PackagedProgram(
        title="JavaScriptCore", image="jsc", argv=(f"{IMAGE}/usr/bin/jsc", "-e", 'print("hello")'), ready_pattern="^hello$",
        package="libjavascriptcoregtk-4.1-0",
    ),
    "ocaml-hello": PackagedProgram(title="OCaml", image="ocaml", argv=(f"{IMAGE}/hello",), ready_pattern="^hello$", package="ocaml"),
    "haskell": PackagedProgram(
        title="Haskell's alex", image="haskell", argv=(f"{IMAGE}/usr/bin/alex", "--version"),
        ready_pattern="^Alex version", package="alex",
    ),
    "sbcl-hello": PackagedProgram(
        title="SBCL", image="sbcl",
        argv=(f"{IMAGE}/usr/bin/sbcl", "--core", f"{IMAGE}/usr/lib/sbcl/sbcl.core", "--no-sysinit",
         "--no-userinit", "--non-interactive", "--eval", '(write-line "hello")'),
        ready_pattern="^hello$", package="sbcl",
    ),
    "erlang-hello": PackagedProgram(
        title="Erlang", image="erlang",
        argv=(f"{IMAGE}/bin/erlexec", "-noshell", "-eval", 'io:put_chars("hello\\n"), halt().'),
        ready_pattern="^hello$", package="erlang-base",
        environment={"ROOTDIR": f"{IMAGE}/usr/lib/erlang", "BINDIR": f"{IMAGE}/bin", "EMU": "beam",
         "PROGNAME": "erl"},
        timeout=60.0,  # it compiles its modules first: 40 s in UML on a busy machine (measured)
    ),
    "luajit-hello": PackagedProgram(
        title="LuaJIT", image="luajit",
        argv=(f"{IMAGE}/usr/bin/luajit", "-e",
         'local n = 0 for i = 1, 1e5 do n = n + i end print("hello")'),
        ready_pattern="^hello$", package="luajit",
    ),
    "python-hello": PackagedProgram(
        title="CPython", image="python", argv=(f"{IMAGE}/usr/bin/python3", "-I", "-B", "-c", "print('hello')"),
        ready_pattern="^hello$", package="python3-minimal",
    ),
    "c-glibc": _c("glibc's malloc", "plain", "libc6"),
    "c-jemalloc": _malloc("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    "c-mimalloc": _malloc("mimalloc", "libmimalloc.so.3", "libmimalloc3"),
    "c-tcmalloc": _malloc("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4t64"),
    # the leak checker traces its own process, but strace already does
    "c-asan": _c("AddressSanitizer", "address", "libasan8", ASAN_OPTIONS="detect_leaks=0"),
    "c-tsan": _c("ThreadSanitizer", "thread", "libtsan2"),
}  # fmt: skip
RUNTIMES: Mapping[str, PackagedProgram] = {
    port.image(name): replace(this, port=port) for port in PORTS for name, this in _HERE.items()
}
CATALOGUE: Mapping[str, PackagedProgram] = {
    **RUNTIMES,
    **PROGRAMS,
    **SURVEY_PROGRAMS,
    **PROBES,
}


def packaged(builder: Builder) -> Mapping[str, Callable[[], Subject]]:
    """Return what makes each subject of the catalogue, by name, building its image if need be."""

    def maker(name: str) -> Callable[[], Subject]:
        return lambda: subject(name, builder)

    return {name: maker(name) for name in CATALOGUE}


def subject(name: str, builder: Builder) -> Subject:
    """Return a subject of the catalogue. Raises ImageError if its image cannot be built."""
    this = CATALOGUE[name]
    lies_in = this.port.image(this.image)
    image = str(builder.image(lies_in))

    def placed(word: str) -> str:
        return word.replace(IMAGE, image)

    return Subject(
        name=name,
        argv=tuple(map(placed, this.argv)),
        environment={key: placed(value) for key, value in this.environment.items()},
        image=lies_in,
        image_directory=image,
        directory=image if this.starts_in_image else "",
        ready_pattern=this.ready_pattern,
        ready_port=this.ready_port,
        user=_UNPRIVILEGED if this.refuses_root else "",
        refuses_root=this.refuses_root,
        timeout=this.timeout,
        ends=this.ends,
        machine=this.port.machine,
    )


def version(name: str, builder: Builder) -> str:
    """Return the version of a program, `1.24.4` of Debian's `1.24.4-1`; builds nothing."""
    this = CATALOGUE[name]
    names = (this.package, f"{this.package}-{this.port.name}-cross")  # if it was compiled here
    if this.package[0].isdigit():
        return this.package
    for deb in builder.packages(this.port.image(this.image)):
        if deb.package in names:
            return re.sub(r"^\d+:|[+~-].*$", "", deb.version)
    return "unknown"
