"""Custom kernels: their command-line arguments, and files that are not kernels."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from foothold_lab.harness.guests.custom_kernels import CustomKernels, uml_release
from foothold_lab.harness.model.errors import UsageError


@pytest.mark.parametrize(
    "kernels, guest",
    [
        (CustomKernels(uml=Path("/k/linux")), "uml-own"),
        (CustomKernels(qemu=Path("/k/bzImage")), "qemu-own"),
        (CustomKernels(qemu=Path("/k/bzImage"), initrd=Path("/k/initrd")), "qemu-own"),
        (CustomKernels(uml=Path("/k/linux"), append=("one", "two=2")), "uml-own"),
        (CustomKernels(append=("one", "two=2")), "uml-6.1"),
        (CustomKernels(mode="ptrace"), "uml-7.2"),
        (CustomKernels(uml=Path("/k/linux"), append=("one",), mode="ptrace"), "uml-own"),
        (CustomKernels(), "native"),
    ],
)
def test_reads_back_its_arguments(kernels: CustomKernels, guest: str) -> None:
    assert CustomKernels.from_arguments(kernels.arguments(guest)) == kernels


def test_names_another_guest_only_if_a_kernel_option_changes_it() -> None:
    kernels = CustomKernels(uml=Path("/k/linux"))
    assert kernels.arguments("native") == ()
    assert CustomKernels(append=("quiet",)).arguments("native") == (
        "--guest",
        "native",
        "--append=quiet",
    )


def test_rejects_an_initramfs_without_kernel_or_of_another_format(tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    with pytest.raises(UsageError, match="needs a custom kernel"):
        CustomKernels(initrd=initrd).check()
    from foothold_lab.harness.guests import custom_kernels

    for content, good in (
        (b"070701" + bytes(200), True),
        (gzip.compress(b"070701"), True),
        (b"\x7fELF" + bytes(100), False),
        (b"", False),
    ):
        initrd.write_bytes(content)
        if good:
            custom_kernels._check_initrd(initrd, tmp_path)
        else:
            with pytest.raises(UsageError, match="is not an initramfs"):
                custom_kernels._check_initrd(initrd, tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        custom_kernels._check_initrd(tmp_path / "absent", tmp_path)


ELF = b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\x00" + bytes(100)  # for x86-64, not executable


def test_reads_the_release_of_a_uml_kernel_without_executing_it(tmp_path: Path) -> None:
    kernel = tmp_path / "linux"
    kernel.write_bytes(ELF + b"uml_dir=%s\0Linux version 6.17.0-rc3-um (me@here) (gcc) #1\0")
    assert uml_release(kernel) == "6.17"


@pytest.mark.parametrize("words", [b"uml_dir=\0", b"Linux version 6.17.0 (me@here)\0", b""])
def test_rejects_a_program_that_is_not_a_uml_kernel(words: bytes, tmp_path: Path) -> None:
    (tmp_path / "linux").write_bytes(ELF + words)
    with pytest.raises(UsageError, match="is not a UML kernel"):
        CustomKernels(uml=tmp_path / "linux").check()


def test_rejects_a_kernel_for_another_machine(tmp_path: Path) -> None:
    (tmp_path / "linux").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xb7\x00" + bytes(100))
    with pytest.raises(UsageError, match="for aarch64, not x86-64"):
        CustomKernels(uml=tmp_path / "linux").check()
