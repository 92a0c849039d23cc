"""The compiler of the agent, and agents that a wheel brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.images import catalogue, compiler
from foothold_lab.images.catalogue import COMPILED, RECIPES
from foothold_lab.images.debian_arch import PORTS, Port
from foothold_lab.images.recipes import Materials


@pytest.mark.parametrize("port", PORTS.values(), ids=lambda port: port.name)
def test_one_compiler_serves_every_machine(port: Port) -> None:
    recipe = RECIPES[port.image("agent")]
    linker = ("binutils-loong64",) if port.name == "loong64" else ()
    assert recipe.needs == ("clang", "kernel-headers", port.image("sysroot"), *linker)
    assert port.image("agent") in COMPILED


def test_the_sysroot_of_a_cross_compiler_becomes_an_ordinary_one(tmp_path: Path) -> None:
    packages, out = tmp_path / "packages", tmp_path / "out"
    port = PORTS["arm64"]
    script = (
        "/* GNU ld script */\nGROUP ( /usr/aarch64-linux-gnu/lib/libc.so.6 AS_NEEDED ( /x/ld.so ) )"
    )
    for name, text in {
        f"usr/{port.triplet}/include/stdio.h": "",
        f"usr/{port.triplet}/lib/libc.a": "",
        f"usr/{port.triplet}/lib/crt1.o": "",
        f"usr/{port.triplet}/lib/libc.so": script,
        f"usr/lib/gcc-cross/{port.triplet}/12/crtbegin.o": "",
        f"usr/lib/gcc-cross/{port.triplet}/12/libgcc.a": "",
        f"usr/lib/gcc-cross/{port.triplet}/12/libasan.a": "",
    }.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)
    out.mkdir()
    compiler.make_sysroot(Materials(packages=packages, images={}, target=out, port=port), out)
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    gcc = f"usr/lib/gcc/{port.triplet}/12"
    assert files == {
        "usr/include/stdio.h", "usr/lib/libc.a", "usr/lib/crt1.o", "usr/lib/libc.so",
        f"{gcc}/crtbegin.o", f"{gcc}/libgcc.a",
    }  # fmt: skip
    assert (out / "usr/lib/libc.so").read_text().split() == (
        ["GROUP", "(", "libc.so.6", "AS_NEEDED", "(", "ld.so", ")", ")"]
    )


def test_a_prebuilt_agent_needs_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, built = tmp_path / "sources", tmp_path / "built"
    for folder in (sources, built, tmp_path / "out"):
        folder.mkdir()
    (sources / "main.c").write_text("int main(void) { return 0; }")
    (built / "agent").write_bytes(b"\x7fELF")
    (built / "agent").chmod(0o755)
    (built / "manifest.json").touch()
    monkeypatch.setattr(compiler, "PREBUILT", tmp_path / "prebuilt")
    monkeypatch.setattr(catalogue, "COMPILED", {"agent": sources})

    def recipe() -> catalogue.Recipe:
        return catalogue._compiled("agent", PORTS["amd64"], compiler.make_agent)

    assert recipe().needs == ("clang", "kernel-headers", "sysroot")
    compiler.export_prebuilt("agent", built, sources, tmp_path / "prebuilt")
    assert recipe().needs == ()
    out = tmp_path / "out"
    recipe().make(Materials(packages=tmp_path, images={}, target=out), out)
    assert [path.name for path in out.iterdir()] == ["agent"]
    assert (out / "agent").stat().st_mode & 0o777 == 0o755
    # an agent of other sources is not used
    (sources / "main.c").write_text("int main(void) { return 1; }")
    assert recipe().needs == ("clang", "kernel-headers", "sysroot")
