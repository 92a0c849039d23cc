"""Kernels of the user's own: what names them, and what is none."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from foothold_lab.harness.guests.custom_kernels import CustomKernels
from foothold_lab.harness.model.errors import UsageError


@pytest.mark.parametrize(
    "own, guest",
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
def test_they_are_read_back_from_the_words_that_name_them(own: CustomKernels, guest: str) -> None:
    assert CustomKernels.named(own.where(guest)) == own


def test_a_guest_that_is_not_theirs_is_named_as_usual() -> None:
    own = CustomKernels(uml=Path("/k/linux"))
    assert own.where("native") == ()
    assert CustomKernels(append=("quiet",)).where("native") == (
        "--guest",
        "native",
        "--append=quiet",
    )


def test_an_initramfs_needs_a_kernel_and_to_be_one(tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    with pytest.raises(UsageError, match="for a kernel of your own, in QEMU"):
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
            with pytest.raises(UsageError, match="is no initramfs"):
                custom_kernels._check_initrd(initrd, tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        custom_kernels._check_initrd(tmp_path / "absent", tmp_path)


def test_a_kernel_of_another_machine(tmp_path: Path) -> None:
    (tmp_path / "linux").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xb7\x00" + bytes(100))
    with pytest.raises(UsageError, match="for aarch64, not x86-64"):
        CustomKernels(uml=tmp_path / "linux").check()
