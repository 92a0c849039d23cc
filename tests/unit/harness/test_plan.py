"""Plans: what they say, and what is said of a plan that makes no sense."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foothold_lab.harness.model.cells import ALLOCATOR, Limits
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.plan import Axes, PlanFile, Selection, builtin_plans, find_plan, load_plan
from tests.unit.harness.samples import CANNOT_RESERVE, KNOWN, OUT_OF_MEMORY

DOCS = Path(__file__).parents[3] / "docs"
SMALL = """\
schema = 1
name = "small"

[axes]
guests = ["native", "uml-bookworm"]
limits = ["none", "rlimit_as=300M"]
policies = ["before", "after"]
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(SMALL)
    return path


def read(path: Path, more: str = "", old: str = "", new: str = "") -> PlanFile:
    text = path.read_text() + more
    path.write_text(text.replace(old, new) if old else text)
    return load_plan(path, KNOWN)


def default() -> PlanFile:
    return load_plan(find_plan("default"), KNOWN)


def chosen(guests: Sequence[str] = (), limits: Sequence[str] = (), **axes: object) -> Selection:
    """What the command line comes to."""
    more = {key: tuple(words) for key, words in axes.items()}  # type: ignore[arg-type, var-annotated]
    return Selection(
        axes=Axes(guests=tuple(guests), limits=tuple(map(Limits.parse, limits)), **more)
    )


ALLOCATORS = chosen(subjects=[ALLOCATOR])


def test_the_default_plan_has_one_guest_of_each_family() -> None:
    cells = default().cells()
    assert len(cells) == 4 * 3 * 2 + 4 * 2 + 3 + 1 == len({cell.id for cell in cells})
    assert cells[0].id == "native/none/before"
    assert {cell.guest for cell in cells} == {
        "native", "docker", "uml-6.1", "uml-6.12", "uml-7.2", "qemu-x86_64", "qemu-arm64-16k",
        "qemu-user-arm64-39bit", "qemu-user-riscv64-39bit", "qemu-user-i386",
    }  # fmt: skip


@pytest.mark.parametrize("cell", default().cells(ALLOCATORS), ids=lambda cell: cell.id)
def test_the_default_plan_expects_what_was_observed_in_2012(cell) -> None:  # type: ignore[no-untyped-def]
    narrow = cell.guest in ("uml-6.1", "uml-6.12") or cell.guest.startswith("qemu-user-")
    if not narrow:
        expected = "high, allocates"
    elif cell.policy == "before":
        expected = f"dies, status 2: {OUT_OF_MEMORY}"
    elif str(cell.limits) == "rlimit_as=300M":
        expected = f"dies, status 2: {CANNOT_RESERVE}"
    else:
        expected = "low, allocates"
    assert str(cell.expected) == expected


def test_the_command_line_replaces_an_axis() -> None:
    cells = default().cells(
        chosen(["uml-7.2"], ["rlimit_as=2048M", "rlimit_as=5G"], policies=["after"])
    )
    assert [cell.id for cell in cells] == [
        "uml-7.2/rlimit_as=2G/after",
        "uml-7.2/rlimit_as=5G/after",
    ]
    assert str(cells[0].expected) == "high, allocates"
    assert cells[1].expected is None


def test_exclude_removes_and_include_adds_cells(plan: Path) -> None:
    read_plan = read(
        plan,
        """
[[exclude]]
guests = ["uml-*"]
policies = ["before"]

[[include]]
guests = ["docker", "native"]
limits = ["none"]
policies = ["after"]
""",
    )
    ids = [cell.id for cell in read_plan.cells()]
    assert "uml-6.1/none/before" not in ids
    assert "docker/none/after" in ids
    assert len(ids) == len(set(ids)) == 8 - 2 + 1
    asked = chosen(["docker"], ["none"], policies=["before"])
    assert [cell.id for cell in read_plan.cells(asked)] == ["docker/none/before"]
    assert [cell.id for cell in read_plan.cells(chosen(["docker"]))] == ["docker/none/after"]


def test_a_guest_of_the_includes_alone_narrows_the_plan_to_its_cells(plan: Path) -> None:
    more = """
[[include]]
guests = ["qemu-arm64-16k"]
limits = ["none", "rlimit_as=800M"]
subjects = ["allocator", "program"]
policies = ["after"]

[[include]]
guests = ["qemu-arm64-16k", "uml-6.1"]
limits = ["rlimit_data=32M"]
policies = ["before"]

[subject.program]
program = "guest:/bin/true"
"""
    read_plan = read(plan, more)

    def ids(*axes: Sequence[str], **more: Sequence[str]) -> list[str]:
        return [cell.id for cell in read_plan.cells(chosen(*axes, **more))]

    guest = "qemu-arm64-16k"
    own = [each.id for each in read_plan.cells() if each.guest == guest]
    assert ids([guest]) == own and len(own) == 5
    assert ids([guest], ["rlimit_data=32M"]) == [f"{guest}/rlimit_data=32M/before"]
    # a value that the includes lack for this guest is still given to it
    assert ids([guest], ["rlimit_as=1G"], policies=["after"]) == [f"{guest}/rlimit_as=1G/after"]
    assert f"{guest}/rlimit_as=1G/after" in ids([guest], ["none", "rlimit_as=1G"])
    # a guest that the plan does not have gets the axes, as one that the axes have
    assert len(ids(["uml-6.12"])) == 4 and len(ids(["uml-6.1"])) == 5


def test_rejects_a_selection_without_cells(plan: Path) -> None:
    with pytest.raises(UsageError, match=r"plan.toml:9: exclude\[0\]: no cell is left"):
        read(plan, '\n[[exclude]]\nguests = ["*"]\n')
    some = read(plan, '\n[[exclude]]\nlimits = ["none"]\n', '["*"]', '["native"]')
    with pytest.raises(UsageError, match="no cell of plan small is selected"):
        some.cells(chosen(limits=["none"]))


def test_the_first_expectation_that_matches_counts(plan: Path) -> None:
    read_plan = read(
        plan,
        """
[[expect]]
guests = ["uml-6.1"]
limits = ["rlimit_as=*"]
path = "refused"
outcome = "dies"
status = 2
message = "m"

[[expect]]
limits = ["rlimit_as=307200K", "none"]
path = "high"
outcome = "allocates"
""",
    )
    expected = {cell.id: str(cell.expected) for cell in read_plan.cells(chosen(policies=["after"]))}
    assert expected == {
        "native/none/after": "high, allocates",
        "native/rlimit_as=300M/after": "high, allocates",
        "uml-6.1/none/after": "high, allocates",
        "uml-6.1/rlimit_as=300M/after": "dies, status 2: m",
    }


def test_the_command_of_a_cell_names_its_plan(plan: Path) -> None:
    assert default().cells()[0].command[:4] == ("foothold", "run", "--guest", "native")
    assert load_plan(plan, KNOWN).cells()[0].command[:4] == (
        "foothold",
        "run",
        str(plan),
        "--guest",
    )


def test_required_guests_are_canonical(plan: Path) -> None:
    required = read(plan, old="[axes]", new='require = ["uml-bookworm"]\n[axes]').require
    assert required == {"uml-6.1"}


EXPECT = '\n[[expect]]\nguests = ["native"]\npath = "high"\noutcome = "allocates"\n'


@pytest.mark.parametrize(
    ("old", "new", "line", "told", "remedy"),
    [
        (
            '"native"',
            '"natve"',
            5,
            "axes.guests[0]: unknown guest 'natve': did you mean native",
            "uml-testing",
        ),
        ("limits", "limit", 6, "axes: unknown key 'limit': did you mean limits", "policies"),
        ("300M", "300XB", 6, "axes.limits[1]: '300XB' is not a size", "300M"),
        ("rlimit_as", "rlimitas", 6, "axes.limits[1]: unknown limit 'rlimitas=300M'", "none"),
        ('"after"]', '"later"]', 7, "axes.policies[1]: unknown policy 'later'", "before, after"),
        ('["native", "uml-bookworm"]', "[]", 5, "axes.guests: an empty list", ""),
        (
            '["native", "uml-bookworm"]',
            '"native"',
            5,
            "axes.guests: expected a list, got a string",
            'write ["native"]',
        ),
        (
            "schema = 1",
            "schema = 2",
            1,
            "schema: this version of Foothold only reads schema = 1",
            "",
        ),
        ('"small"', "3", 2, "name: expected a string, got a number", ""),
        ("name", "nam", 2, "unknown key 'nam': did you mean name", "description"),
        ("[axes]", "[axis]", 4, "unknown table 'axis': did you mean axes", ""),
        ("allocates", "alocates", 12, "unknown outcome 'alocates': did you mean allocates", "dies"),
        ('"high"', '"hi"', 11, "unknown path 'hi'", "low-grown"),
        ("outcome", "outcom", 12, "expect[0]: unknown key 'outcom': did you mean outcome", "path"),
        ('guests = ["native"]\npath', 'guests = ["uml-4*"]\npath', 10, "matches nothing", "docker"),
        ("allocates", "dies", 9, "expect[0].status: ", ""),
        ('"high"', '"refused"', 11, "expect[0].path: ", ""),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_a_remedy(
    plan: Path, old: str, new: str, line: int, told: str, remedy: str
) -> None:
    with pytest.raises(UsageError) as error:
        read(plan, EXPECT, old, new)
    assert str(error.value).startswith(f"{plan}:{line}: ")
    assert told in str(error.value)
    assert remedy in error.value.remedy


@pytest.mark.parametrize("text", ["schema = ", "\x00", "[axes", "- yaml: true", "{}"])
def test_rejects_invalid_toml(plan: Path, text: str) -> None:
    plan.write_text(text)
    with pytest.raises(UsageError, match="this is not valid TOML") as error:
        load_plan(plan, KNOWN)
    assert str(plan) in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * (2 << 20)], ids=["binary", "huge"])
def test_rejects_other_files(plan: Path, content: bytes) -> None:
    plan.write_bytes(content)
    with pytest.raises(UsageError):
        load_plan(plan, KNOWN)


def test_the_plan_in_the_documentation_can_be_read(plan: Path) -> None:
    page = (DOCS / "plans.md").read_text()
    plan.write_text(page.partition("```toml\n")[2].partition("```")[0])
    written = load_plan(plan, KNOWN)
    cells = {cell.id: str(cell.expected) for cell in written.cells()}
    assert len(cells) == (6 + 2 * 3) + 2 * 4 + 1
    assert cells["docker/none/after"] == "high, allocates"
    assert cells["uml-6.12/rlimit_as=300M/after"] == f"dies, status 2: {CANNOT_RESERVE}"
    assert cells["uml-6.12/none/after"] == "None"
    assert cells["uml-7.2/none/server"] == cells["native/none/server~3"] == "starts"
    assert cells["uml-6.12/rlimit_as=300M/server"] == "dies, saying /cannot reserve heap/"


def test_the_pages_name_every_builtin_plan() -> None:
    page = (DOCS / "plans.md").read_text()
    assert all(f"| `{name}` |" in page for name in builtin_plans())


def test_a_plan_is_found_by_name_or_path(plan: Path) -> None:
    assert find_plan("default").name == "default.toml"
    assert find_plan(str(plan)) == plan
    assert "default" in builtin_plans()


@pytest.mark.parametrize("name", ["nightli", "nightly.toml", "/nowhere/x.toml", "/"])
def test_an_unknown_plan_gets_the_builtin_plans(name: str) -> None:
    with pytest.raises(UsageError) as error:
        find_plan(name)
    assert "default" in error.value.remedy


def test_suggests_the_nearest_plan() -> None:
    with pytest.raises(UsageError, match="no such plan: did you mean nightly"):
        find_plan("nightli")


@settings(max_examples=200)
@given(st.text(max_size=60), st.integers(0, len(SMALL)))
def test_a_damaged_plan_is_valid_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbled.toml"
    path.write_text(SMALL[:at] + text + SMALL[at:], errors="replace")
    try:
        load_plan(path, KNOWN).cells()
    except UsageError as error:
        assert str(path) in str(error)
