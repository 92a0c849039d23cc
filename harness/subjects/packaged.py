"""The catalogue of packaged runtimes: subjects by name, each in an image (images/runtimes.py).

A runtime for another machine is a separate subject; its name ends in Debian's port:
`go-hello-riscv64`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64, Port
from foothold_lab.images.runtimes import PORTS

_IMAGE = "{image}"  # placeholder for the path of the image of a runtime


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A subject of the catalogue: what it is called for people, what runs, out of which image.

    It has started when it has printed what matches `says`, and has to end by itself. Its version is
    that of a Debian `package` that goes into the image. That is named as this machine's; `port`
    says which one's it is.
    """

    title: str
    image: str
    argv: tuple[str, ...]
    ready_pattern: str
    package: str
    environment: Mapping[str, str] = field(default_factory=dict)
    port: Port = AMD64


def _java(title: str, *options: str) -> Runtime:
    ready_pattern = "openjdk version" if options == ("-version",) else "^hello$"
    run = () if options == ("-version",) else ("-cp", _IMAGE, "Hello")
    argv = (f"{_IMAGE}/jdk/bin/java", *options, *run)
    package = "openjdk-25-jre-headless"
    return Runtime(
        title=f"OpenJDK{title}",
        image="java",
        argv=argv,
        ready_pattern=ready_pattern,
        package=package,
    )


def _node(title: str, code: str) -> Runtime:
    return Runtime(
        title=title,
        image="node",
        argv=(f"{_IMAGE}/usr/bin/node", "-e", code),
        ready_pattern="^hello$",
        package="nodejs",
    )


def _c(title: str, program: str, package: str, **environment: str) -> Runtime:
    return Runtime(
        title=title,
        image="sanitizers",
        argv=(f"{_IMAGE}/{program}",),
        ready_pattern="^allocated$",
        package=package,
        environment=environment,
    )


def _malloc(title: str, library: str, package: str) -> Runtime:
    return Runtime(
        title=title,
        image="allocators",
        argv=(f"{_IMAGE}/allocate",),
        ready_pattern="^allocated$",
        package=package,
        environment={"LD_PRELOAD": f"{_IMAGE}/lib/{library}"},
    )


_HERE: Mapping[str, Runtime] = {
    "go-hello": Runtime(title="Go", image="go", argv=(f"{_IMAGE}/hello",), ready_pattern="^hello from 0x", package="golang-1.24-go"),
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
    "jsc-hello": Runtime(
        title="JavaScriptCore", image="jsc", argv=(f"{_IMAGE}/usr/bin/jsc", "-e", 'print("hello")'), ready_pattern="^hello$",
        package="libjavascriptcoregtk-4.1-0",
    ),
    "ocaml-hello": Runtime(title="OCaml", image="ocaml", argv=(f"{_IMAGE}/hello",), ready_pattern="^hello$", package="ocaml"),
    "haskell": Runtime(
        title="Haskell's alex", image="haskell", argv=(f"{_IMAGE}/usr/bin/alex", "--version"),
        ready_pattern="^Alex version", package="alex",
    ),
    "sbcl-hello": Runtime(
        title="SBCL", image="sbcl",
        argv=(f"{_IMAGE}/usr/bin/sbcl", "--core", f"{_IMAGE}/usr/lib/sbcl/sbcl.core", "--no-sysinit",
         "--no-userinit", "--non-interactive", "--eval", '(write-line "hello")'),
        ready_pattern="^hello$", package="sbcl",
    ),
    "erlang-hello": Runtime(
        title="Erlang", image="erlang",
        argv=(f"{_IMAGE}/bin/erlexec", "-noshell", "-eval", 'io:put_chars("hello\\n"), halt().'),
        ready_pattern="^hello$", package="erlang-base",
        environment={"ROOTDIR": f"{_IMAGE}/usr/lib/erlang", "BINDIR": f"{_IMAGE}/bin", "EMU": "beam",
         "PROGNAME": "erl"},
    ),
    "luajit-hello": Runtime(
        title="LuaJIT", image="luajit",
        argv=(f"{_IMAGE}/usr/bin/luajit", "-e",
         'local n = 0 for i = 1, 1e5 do n = n + i end print("hello")'),
        ready_pattern="^hello$", package="luajit",
    ),
    "python-hello": Runtime(
        title="CPython", image="python", argv=(f"{_IMAGE}/usr/bin/python3", "-I", "-c", "print('hello')"),
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
RUNTIMES: Mapping[str, Runtime] = {
    port.image(name): replace(this, port=port) for port in PORTS for name, this in _HERE.items()
}


def packaged(builder: Builder) -> Mapping[str, Callable[[], Subject]]:
    """Return what makes each subject of the catalogue, by name, building its image if need be."""

    def maker(name: str) -> Callable[[], Subject]:
        return lambda: subject(name, builder)

    return {name: maker(name) for name in RUNTIMES}


def subject(name: str, builder: Builder) -> Subject:
    """Return a subject of the catalogue. Raises ImageError if its image cannot be built."""
    this = RUNTIMES[name]
    lies_in = this.port.image(this.image)
    image = str(builder.image(lies_in))

    def placed(word: str) -> str:
        return word.replace(_IMAGE, image)

    return Subject(
        name=name,
        argv=tuple(map(placed, this.argv)),
        environment={key: placed(value) for key, value in this.environment.items()},
        image=lies_in,
        directory=image,
        ready_pattern=this.ready_pattern,
        ends=True,
        machine=this.port.machine,
    )


def version(name: str, builder: Builder) -> str:
    """Return a runtime's version, `1.24.4` of Debian's `1.24.4-1`; builds nothing."""
    this = RUNTIMES[name]
    names = (this.package, f"{this.package}-{this.port.name}-cross")  # if it was compiled here
    for deb in builder.packages(this.port.image(this.image)):
        if deb.package in names:
            return re.sub(r"^\d+:|[+~-].*$", "", deb.version)
    return "unknown"
