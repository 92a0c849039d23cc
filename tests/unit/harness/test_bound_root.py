"""Roots of mounts, as a sandbox that cannot write into its root gets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.guests.bound_root import Step, root_steps


@pytest.fixture
def base(tmp_path: Path) -> Path:
    root = tmp_path / "base"
    for name in (
        "etc/passwd",
        "lib/arch/libc.so",
        "lib/arch/libm.so",
        "lib/other",
        "proc/x",
        "tmp/x",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "bin").symlink_to("usr/bin")
    return root


def steps(base: Path, overlay: Path | None = None, **shown: Path) -> dict[str, Step]:
    listed = list(root_steps(base, overlay, {f"/{name}": path for name, path in shown.items()}))
    assert len({each.path for each in listed}) == len(listed)
    for n, each in enumerate(listed):  # a mount would hide what is mounted below it
        assert not any(other.path.startswith(f"{each.path}/") for other in listed[:n])
    return {each.path: each for each in listed}


def test_a_root_without_other_files_is_mounted_whole(base: Path) -> None:
    found = steps(base)
    assert found["/lib"] == Step("bind", "/lib", f"{base}/lib")
    assert found["/bin"] == Step("link", "/bin", "usr/bin")
    assert set(found) == {"/etc", "/lib", "/bin"}  # proc and tmp are those of the sandbox


def test_files_of_a_subject_replace_those_of_the_root(base: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    (overlay / "lib/arch").mkdir(parents=True)
    (overlay / "lib/arch/libc.so").write_text("newer")
    (overlay / "lib/arch/loader").symlink_to("libc.so")
    (overlay / "home/me/empty").mkdir(parents=True)
    found = steps(base, overlay, share=tmp_path)
    assert found["/lib/arch/libc.so"].source == str(overlay / "lib/arch/libc.so")
    assert found["/lib/arch/libm.so"].source == f"{base}/lib/arch/libm.so"
    assert found["/lib/arch/loader"] == Step("link", "/lib/arch/loader", "libc.so")
    assert found["/lib/arch"] == Step("directory", "/lib/arch")
    assert found["/lib/other"].source == f"{base}/lib/other"
    assert found["/home/me/empty"].kind == "directory"
    assert found["/etc"] == Step("bind", "/etc", f"{base}/etc")
    assert found["/share"] == Step("bind", "/share", str(tmp_path))
