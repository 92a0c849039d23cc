"""Root in a guest looks for a network, for devices of this machine, and writes into its images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.verdict import Expectation, Result
from foothold_lab.harness.subjects.packaged import packaged
from foothold_lab.images.builder import Builder
from tests.guests.conftest import happen

SCRIPT = """
ls /sys/class/net
image={image}
mount -o remount,rw,bind $image
mount -o remount,rw $image
touch $image/evil && echo wrote $image
exit 0
"""
# in virtual machines only: the disks that a container sees are those of this machine
DISKS = """
for disk in /sys/block/vd*; do
    mknod /tmp/disk b $(tr : ' ' < $disk/dev) || continue
    blockdev --setrw /tmp/disk
    dd if=/dev/zero of=/tmp/disk bs=4096 count=1 conv=fsync && echo wrote $disk
    rm -f /tmp/disk
done
"""


@pytest.mark.parametrize("guest", ["uml-7.2", "qemu-x86_64", "docker"])
def test_has_no_network_and_writes_no_image(guest: str, builder: Builder, tmp_path: Path) -> None:
    hello = packaged(builder)["go-hello"]()
    disks = DISKS if guest.startswith("qemu") else ""
    script = disks + SCRIPT.format(image=hello.image_directory)
    subject = replace(hello, name="write", argv=("/bin/sh", "-c", script), timeout=30.0)
    cell = Cell(
        guest=known_guests(builder)[guest], limits=Limits(), policy="", subject="write",
        expected=Expectation.parse("starts"),
    )  # fmt: skip
    place = tmp_path / "run"
    happened = happen([cell], builder, place, jobs=1, subjects={"write": subject})
    [verdict] = happened.verdicts.values()
    if verdict.result is Result.UNSUPPORTED:
        pytest.skip(verdict.reason)
    assert verdict.observed, str(verdict)
    assert verdict.observed.status == 0, str(verdict)
    output = (Path(verdict.artefacts) / "stdout").read_text().split()
    assert output == ["lo"]
    if disks:
        assert "dd: error writing" in (Path(verdict.artefacts) / "stderr").read_text()
    images = [hello.image, f"disk-{hello.image}"] if disks else [hello.image]
    for path in map(builder.image, images):
        assert not (path / "evil").exists()
        assert builder.cache.find(path.name), "no file of the image has changed"
