"""README's commands on each kind of host, from nothing: the default plan passes, or says why not.

A tree of Debian's packages is the host. Each test takes minutes: `pytest -m weekly tests/hosts`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness import __version__
from foothold_lab.harness.cli.context import make_builder, read_plan
from foothold_lab.harness.plan import Selection
from foothold_lab.harness.runner.preparation import images_of
from foothold_lab.images.mirror import CHOOSE_MIRROR
from foothold_lab.images.transfer import pack
from tests.hosts.distributions import DISTRIBUTIONS
from tests.hosts.machine import SECONDS, Machine, machine
from tests.hosts.survey import prepare, run_default_plan, unsupported

pytestmark = [
    pytest.mark.guests,
    pytest.mark.weekly,
    pytest.mark.timeout(2 * SECONDS),
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting a host needs root"
    ),
]


@pytest.fixture(params=DISTRIBUTIONS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    with machine(DISTRIBUTIONS[request.param], tmp_path) as made:
        yield made


@pytest.mark.parametrize("user", ["root", "user"])
def test_the_default_plan_runs_from_nothing(host: Machine, user: str) -> None:
    if host.distribution.needs_mirror:
        _refuses_without_a_mirror(host, user)
    prepare(host, user)
    done, summary = run_default_plan(host, user)
    assert done.returncode == 0, done.stdout + done.stderr
    assert summary["counts"]["pass"] > 0
    assert summary["counts"]["fail"] == summary["counts"]["error"] == 0
    expected = {"docker"} | (
        {"uml-6.1", "uml-6.12", "uml-7.2"} if user in host.restricted else set()
    )
    assert set(unsupported(summary)) == expected


def _refuses_without_a_mirror(host: Machine, user: str) -> None:
    """One remedy for one cause, in every command."""
    for argv in (["run"], ["doctor"], ["images", "build"]):
        done = host.run(user, "./foothold", *argv)
        assert CHOOSE_MIRROR in " ".join((done.stdout + done.stderr).split()), argv
        assert done.returncode == (0 if argv == ["doctor"] else 3), argv


def test_packed_images_serve_another_user_and_distribution_without_a_network(
    tmp_path: Path,
) -> None:
    """The images of this machine, at the path of this user, in a host like Fedora."""
    builder = make_builder()
    names = images_of(read_plan("default", builder).cells(Selection()), builder)
    for name in names:
        builder.image(name)
    packed = pack(builder, tmp_path / "images.tar.zst", __version__, names)
    with machine(DISTRIBUTIONS["fedora"], tmp_path) as host:
        shutil.copy2(tmp_path / "images.tar.zst", host.tree / "tmp")
        done = host.run("user", "./foothold", "--version")  # makes the Python environment
        assert done.returncode == 0, done.stderr
        unpack = ("images", "unpack", "/tmp/images.tar.zst", "--sha256", packed.sha256)
        done = host.run("user", "./foothold", *unpack, offline=True)
        assert done.returncode == 0, done.stderr
        done, summary = run_default_plan(host, "user", offline=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert set(unsupported(summary)) == {"docker"}
        assert summary["counts"]["pass"] > 20
