"""The catalogue of packaged programs, and the plan that runs them, without building one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foothold_lab.harness.cli.context import make_vocabulary
from foothold_lab.harness.guests.base import GuestPaths
from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.guests.working_directory import closed_directory
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.plan import Selection, find_plan, load_plan
from foothold_lab.harness.subjects.packaged import subject, version
from foothold_lab.harness.subjects.programs import PROGRAMS
from foothold_lab.harness.subjects.subject import supervision
from foothold_lab.harness.transport.supervised import agent_arguments
from foothold_lab.images import disks, programs
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.catalogue import RECIPES

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def empty(tmp_path: Path) -> Builder:
    """A builder that can build nothing."""
    return Builder(Cache(tmp_path), locked=True)


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_has_an_image_a_disk_and_a_version(name: str, empty: Builder) -> None:
    this = PROGRAMS[name]
    image = this.port.image(this.image)
    assert {image, disks.DISK + image} <= set(RECIPES)
    assert re.fullmatch(r"\d+(\.\d+)+", version(name, empty))
    assert this.ready_pattern or not this.ends


def test_servers_have_ports_of_their_own() -> None:
    ports = [
        word
        for name, this in PROGRAMS.items()
        if not name.endswith("-arm64") and not this.ends
        for word in (*this.argv, str(this.ready_port))
        if re.fullmatch(r"46\d{3}", word)
    ]
    assert len(set(ports)) == 5
    assert "listen 127.0.0.1:46080;" in (programs.SCRIPTS / "nginx.conf").read_text()


def test_a_program_that_writes_gets_a_root_and_its_image_there(
    empty: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(empty, "image", lambda name: Path(f"/root/store/{name}-1"))
    postgres = subject("postgres", empty)
    guest = GuestPaths(share="/share", agent="/init", python="/usr/bin/python3", placement="merged")
    how = supervision(postgres, guest, 1.0, trace=False)
    argv = agent_arguments(Limits(), postgres.argv, how)
    assert argv[argv.index("--image") + 1] == "/root/store/postgres-1"
    assert "--subject-root" in argv
    assert argv[argv.index("--user") + 1] == "nobody"
    assert how.started_by(0).user == "nobody"  # it refuses root
    assert how.started_by(1000).user == ""
    assert how.under(Limits(user="daemon")).started_by(1000).user == "daemon"
    node = supervision(subject("node", empty), guest, 1.0, trace=False)
    assert "--subject-root" not in agent_arguments(Limits(), ("/x",), node)


def test_the_plan_runs_every_program_on_its_machine(empty: Builder) -> None:
    plan = load_plan(find_plan("wild"), make_vocabulary(empty))
    cells = plan.cells()
    assert {cell.subject for cell in cells} == set(PROGRAMS)
    assert len(cells) == 6 * 3 * len(PROGRAMS) // 2
    machines = {name: kind.machines for name, kind in catalogue(empty).items()}
    for cell in cells:
        assert PROGRAMS[cell.subject].port.machine == machines[cell.guest][0]
    quick = plan.cells(Selection(tags=("quick",)))
    assert len(quick) == 54
    assert {cell.guest for cell in quick} == {"native", "uml-6.1", "uml-7.2"}


def test_the_page_about_packages_names_every_program() -> None:
    page = (DOCS / "runtimes.md").read_text()
    assert all(f"`{name}`" in page for name in PROGRAMS if not name.endswith("-arm64"))


def test_finds_a_directory_that_a_user_cannot_enter(tmp_path: Path) -> None:
    program = tmp_path / "private" / "open" / "program"
    program.parent.mkdir(parents=True)
    for directory in (tmp_path, program.parent):
        directory.chmod(0o755)
    program.parent.parent.chmod(0o700)
    closed = closed_directory("65534", program)
    assert closed in (program.parent.parent, *tmp_path.parents)
    program.parent.parent.chmod(0o711)
    assert closed_directory("65534", program) in (None, *tmp_path.parents)
    assert closed_directory("0", program) is None
    assert closed_directory("nosuchuser", program) is None
