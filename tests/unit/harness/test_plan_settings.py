"""The table of settings: how cells are run, checks of a whole plan, and the reference."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foothold_lab.harness.cli import main
from foothold_lab.harness.guests import catalogue
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.plan import (
    Axes,
    CellSettings,
    Pattern,
    PlanFile,
    Program,
    Selection,
    builtin_plans,
    find_plan,
    load_plan,
)
from foothold_lab.harness.plan.planfile import MOST_CELLS
from foothold_lab.harness.plan.reference import reference
from foothold_lab.harness.plan.schema import SECTIONS, SETTINGS, settings_of
from foothold_lab.harness.subjects.packaged import CATALOGUE
from tests.unit.harness.samples import KNOWN

ROOT = Path(__file__).parents[3]
PLAN = """\
schema = 1
name = "ways"
tags = ["nightly"]
deadline = 60
require = ["native"]

[axes]
guests = ["native", "uml-bookworm"]
limits = ["none", "rlimit_as=300M"]

[[override]]
guests = ["uml-*"]
tags = ["slow"]
deadline = 120.5

[[override]]
limits = ["none"]
repeats = 3
trace = false
tags = ["flaky"]
deadline = 10
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.toml"


def read(path: Path, old: str = "", new: str = "", more: str = "") -> PlanFile:
    path.write_text((PLAN.replace(old, new, 1) if old else PLAN) + more)
    return load_plan(path, KNOWN)


def test_overrides_win_over_settings_of_the_plan(path: Path) -> None:
    cells = {cell.id: cell for cell in read(path).cells()}
    told = {name: (cell.deadline, cell.trace, cell.tags) for name, cell in cells.items()}
    both, flaky = ("slow", "flaky", "nightly"), ("flaky", "nightly")
    assert told == {
        "native/none/after": (10, False, flaky),
        "native/none/after~2": (10, False, flaky),
        "native/none/after~3": (10, False, flaky),
        "native/rlimit_as=300M/after": (60, True, ("nightly",)),
        "uml-6.1/none/after": (120.5, False, both),
        "uml-6.1/none/after~2": (120.5, False, both),
        "uml-6.1/none/after~3": (120.5, False, both),
        "uml-6.1/rlimit_as=300M/after": (120.5, True, ("slow", "nightly")),
    }


def test_options_win_over_the_plan(path: Path) -> None:
    changed = CellSettings(repeats=1, deadline=5, trace=True)
    cells = read(path).cells(Selection(settings=changed))
    assert {(cell.repeat, cell.deadline, cell.trace) for cell in cells} == {(1, 5, True)}
    assert len(cells) == 4


def test_the_command_of_a_repeated_cell_runs_it_once(path: Path) -> None:
    commands = {cell.id: cell.command for cell in read(path).cells()}
    assert commands["native/none/after~2"][-2:] == ("--repeats", "1")
    assert commands["native/rlimit_as=300M/after"][-2:] == ("--policy", "after")


def test_selects_cells_by_tag(path: Path) -> None:
    plan = read(path)
    assert len(plan.cells(Selection(tags=("nightly",)))) == 8
    chosen = plan.cells(Selection(tags=("slow",)))
    assert {cell.guest for cell in chosen} == {"uml-6.1"}
    assert len(plan.cells(Selection(tags=("slow", "flaky")))) == 7
    with pytest.raises(UsageError, match="unknown tag 'slo': did you mean slow") as error:
        plan.cells(Selection(tags=("slo",)))
    assert "nightly" in error.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("deadline = 60", "deadline = 0", 4, "0 is not a number of seconds from 0.1 to 86400"),
        ("deadline = 60", "deadline = nan", 4, "nan is not a number"),
        ("deadline = 60", "deadline = inf", 4, "inf is not a number"),
        ("deadline = 60", "deadline = true", 4, "expected a number of seconds from 0.1 to 86400"),
        ("deadline = 60", "deadline = 2012-02-08", 4, "got a date or time"),
        ("deadline = 60", "deadlin = 60", 4, "unknown key 'deadlin': did you mean deadline"),
        ("deadline = 60", "jobs = 0", 4, "0 is not a whole number from 1 to 64"),
        ("deadline = 60", "boot_per_cell = 1", 4, "expected true or false, got a number"),
        ("repeats = 3", "repeats = 1.5", 18, "override[1].repeats: expected a whole number"),
        ("repeats = 3", "repeats = 2000", 18, "2000 is not a whole number from 1 to 1000"),
        ('["slow"]', '["a b"]', 13, "override[0].tags[0]: 'a b' is not a valid tag"),
        ('["nightly"]', '"nightly"', 3, "tags: expected a list, got a string"),
        ('"ways"', '"a\\u001b[31m"', 2, "is not a line of text"),
        ('"ways"', '""', 2, "is not a line of text"),
        (
            "deadline = 60",
            "deadline = 0x" + "f" * 5000,
            4,
            "a number of thousands of digits is not",
        ),
        ("deadline = 60", "deadline = " + "9" * 400, 4, "9… is not a number of seconds"),
        ("deadline = 60", 'guests = ["native"]', 4, "'guests' is not allowed at the top level"),
        ("deadline = 60", 'tgas = ["slow"]', 4, "unknown key 'tgas': did you mean tags"),
        ("[axes]", "[axes]\ndeadline = 5", 8, "axes: 'deadline' is not allowed in [axes]"),
        (
            '"none", "rl',
            "0x" + "f" * 5000 + ', "rl',
            9,
            "limits[0]: expected a string, got a number",
        ),
        ("[axes]", '[axes]\nworkloads = ["helo"]', 8, "'helo': did you mean hello"),
        ("[axes]", '[axes]\nworkloads = ["gro:1M"]', 8, "did you mean grow:1M"),
        ("schema = 1", "schema = true", 1, "schema = 1"),
        ("schema = 1\n", "", 0, "missing key 'schema'"),
        ("[axes]", "[[axes]]", 7, "axes: expected a table, got a list"),
        ("[[override]]\nguests", "[override]\nguests", 16, "this is not valid TOML"),
        ('"uml-bookworm"]', '"uml-6.1", "uml-bookworm"]', 8, "uml-6.1 is listed already"),
        ('"none", "rl', '"none", "none", "rl', 9, "none is listed already"),
        ('"rlimit_as=300M"]', '"rlimit_as=300M", "rlimit_as=307200K"]', 9, "is listed already"),
        ('["native"]\n\n', '["docker"]\n\n', 5, "docker is required, but has no cell"),
        (
            '["native"]\n\n',
            '["native"]\nrequire_expectations = true\n\n',
            6,
            "no expectation for native/none/after and 3 more",
        ),
        ('["uml-*"]', '["docker"]', 11, "override[0]: it matches no cell of this plan"),
        (
            'repeats = 3\ntrace = false\ntags = ["flaky"]\ndeadline = 10\n',
            "",
            16,
            "override[1]: it sets nothing",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line(
    path: Path, old: str, new: str, line: int, told: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        read(path, old, new)
    where = f"{path}:{line}: " if line else f"{path}: "
    assert str(error.value).startswith(where)


EXCLUDE = '\n[[exclude]]\nguests = ["docker"]\n'
SAME = """
[[expect]]
guests = ["native"]
path = "high"
outcome = "allocates"

[[expect]]
guests = ["uml-*", "native"]
limits = ["none"]
path = "low"
outcome = "allocates"

[[expect]]
limits = ["none"]
path = "high"
outcome = "allocates"
"""


@pytest.mark.parametrize(
    ("more", "line", "told"),
    [
        (EXCLUDE, 23, "exclude[0]: it matches no cell of [axes]"),
        (
            SAME,
            34,
            "expect[2]: it has no effect: all its cells match an earlier one: "
            "expect[0] (line 23), expect[1] (line 28)",
        ),
        (SAME.replace('"uml-*", "native"', '"native"'), 28, "expect[0] (line 23)"),
        ('\n[[expect]]\nlimits = ["rlimit_as=3G"]\nexpect = "starts"\n', 23, "matches no cell"),
        (
            '\n[[expect]]\npath = "low"\noutcome = "allocates"\nmessage = "m"\n',
            26,
            "expect[0].message",
        ),
        ('\n[[expect]]\npath = "low"\noutcome = "starts"\n', 25, "unknown outcome 'starts'"),
        ("\n[subject]\nx = 1\n", 23, "subject.x: expected a table, got a number"),
        ('\n[subject.x]\nprogram = "x"\nenv = { A = 1 }\n', 25, "subject.x.env: expected a string"),
        ('\n[subject.x]\nprogram = "x"\nenv = { "A B" = "1" }\n', 25, "is not an assignment"),
        ('\n[subject.x]\nprogram = "a\\u0000"\n', 24, "null byte"),
        ('\n[subject.x]\nprogram = "x"\nroot = "hst"\n', 25, "unknown root 'hst': did you mean"),
    ],
)
def test_rejects_rules_without_effect_and_contradictions(
    path: Path, more: str, line: int, told: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        read(path, more=more)
    assert str(error.value).startswith(f"{path}:{line}: ")
    if "matches" in told or "no effect" in told:
        assert error.value.remedy


def test_a_plan_may_require_expectations(path: Path) -> None:
    more = '\n[[expect]]\nexpect = "anything"\n'
    plan = read(path, "tags =", "require_expectations = true\ntags =", more)
    assert {str(cell.expected) for cell in plan.cells()} == {"anything"}


@pytest.mark.parametrize(
    ("limits", "repeats"),
    [(200_000, 1), (200, 1000)],
    ids=["too long an axis", "too many repeats"],
)
def test_rejects_too_many_cells(path: Path, limits: int, repeats: int) -> None:
    words = ", ".join(f'"rlimit_as={n}"' for n in range(4096, 4096 + min(limits, 30_000)))
    if limits > 30_000:
        workloads = ", ".join(f'"grow-{n}"' for n in range(10))
        words += f"]\nworkloads = [{workloads}"
    head = f'schema = 1\nname = "x"\nrepeats = {repeats}\n[axes]\nguests = ["native"]\n'
    path.write_text(f"{head}limits = [{words}]\n")
    with pytest.raises(UsageError, match=f"more than {MOST_CELLS} cells"):
        load_plan(path, KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000,
        "x = " + "9" * 5000,
        "\ufeff" + PLAN,
        'x = "' + "\ud800"[:0] + "\x07" + '"',
    ],
    ids=["nested", "long number", "byte order mark", "control character"],
)
def test_rejects_what_the_toml_parser_rejects(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(UsageError, match="this is not valid TOML") as error:
        load_plan(path, KNOWN)
    assert error.value.remedy


def test_rejects_an_unreadable_file(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Is a directory"):
        load_plan(tmp_path, KNOWN)
    with pytest.raises(UsageError, match="No such file"):
        load_plan(path, KNOWN)


def test_accepts_dotted_keys_and_inline_tables(path: Path) -> None:
    path.write_text('schema = 1\nname = "x"\naxes.guests = ["native"]\n')
    assert [cell.id for cell in load_plan(path, KNOWN).cells()] == ["native/none/after"]
    path.write_text('schema = 1\nname = "x"\naxes = { guests = ["natve"] }\n')
    with pytest.raises(UsageError, match=r"plan.toml:3: axes.guests\[0\]: unknown guest"):
        load_plan(path, KNOWN)


def test_settings_match_the_fields_of_values() -> None:
    for section, value in (("axes", Axes), ("exclude", Pattern), ("include", Axes)):
        fields = {each.name for each in dataclasses.fields(value)}
        assert {each.key for each in settings_of(section)} == fields
    shared = {each.name for each in dataclasses.fields(CellSettings)}
    assert shared == {each.key for each in settings_of("override")} & {
        each.key for each in settings_of("")
    }
    programs = {each.name for each in dataclasses.fields(Program)} - {"name", "options"}
    assert {each.key for each in settings_of("subject")} == programs
    assert {key for each in SETTINGS for key in each.sections} == set(SECTIONS)
    options = [
        each.option.name for each in SETTINGS if each.option and "exclude" not in each.sections
    ]
    assert len(options) == len(set(options))


def test_the_reference_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/plan-reference.md").read_text()
    assert page == reference(), "./foothold plan --reference > docs/plan-reference.md"
    assert main.main(["plan", "--reference"]) == 0
    assert capsys.readouterr().out == page


def test_every_setting_is_in_the_reference() -> None:
    page = reference()
    for section in SECTIONS.values():
        part = page.partition(f"## {f'`{section.title}`' if section.title else 'Top level'}")[2]
        part = part.partition("\n## ")[0]
        for setting in settings_of(section.key):
            assert f"| `{setting.key}` |" in part


@pytest.mark.parametrize("name", builtin_plans())
def test_every_builtin_plan_can_be_read(name: str) -> None:
    plan = load_plan(
        find_plan(name), dataclasses.replace(KNOWN, subjects=dict.fromkeys(CATALOGUE, ""))
    )
    assert plan.name == name
    assert plan.description
    assert plan.cells()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "known_guests", lambda *_: dict(KNOWN.guests))


@pytest.mark.usefixtures("here")
def test_plan_lists_settings_of_cells(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(path)
    oracle = "(predicted by the oracle)"
    assert main.main(["plan", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ways",
        "tags: nightly",
        "required guests: native",
        f"native/none/after             {oracle}  [#flaky, deadline 10 s, not traced]",
        f"native/none/after~2           {oracle}  [#flaky, deadline 10 s, not traced]",
        f"native/none/after~3           {oracle}  [#flaky, deadline 10 s, not traced]",
        f"native/rlimit_as=300M/after   {oracle}",
        f"uml-6.1/none/after            {oracle}  [#slow, #flaky, deadline 120.5 s, not traced]",
        f"uml-6.1/none/after~2          {oracle}  [#slow, #flaky, deadline 120.5 s, not traced]",
        f"uml-6.1/none/after~3          {oracle}  [#slow, #flaky, deadline 120.5 s, not traced]",
        f"uml-6.1/rlimit_as=300M/after  {oracle}  [#slow, deadline 120.5 s]",
        "8 cells",
    ]
    assert main.main(["plan", str(path), "--tag", "slow", "--shard", "1/2", "--repeats", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "shard 1/2 of 2 cells: 1 cell"
    assert main.main(["plan", "--list"]) == 0
    assert "default" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("count", [None, 1, 3, 100])
def test_the_jobs_of_a_matrix_cover_all_cells(
    capsys: pytest.CaptureFixture[str], count: int | None
) -> None:
    asked = ["--limit", "none", "--deadline", "5"]
    shards = [] if count is None else ["--shards", str(count)]
    assert main.main(["plan", "default", *asked, "--github-matrix", *shards]) == 0
    jobs = json.loads(capsys.readouterr().out)["include"]
    assert len(jobs) == min(count or 10, 20)
    assert sum(job["cells"] for job in jobs) == 20
    listed = []
    for job in jobs:
        program, command, *words = job["command"].split()
        assert (program, command) == ("./foothold", "run")
        assert words == ["default", *asked, "--shard", job["shard"]]
        assert main.main(["plan", *words]) == 0
        mine = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]]
        assert set(job["guests"].split(", ")) == {cell.split("/")[0] for cell in mine}
        listed += mine
    assert len(listed) == len(set(listed)) == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--shards", "3"], "--shards needs --github-matrix"),
        (["--github-matrix", "--shard", "1/2"], "--github-matrix covers all shards"),
        (["--shard", "0/3"], "--shard: '0/3' is not a shard"),
        (["--repeats", "x"], "--repeats: 'x' is not a whole number from 1 to 1000"),
        (["--tag", "a b"], "--tag: 'a b' is not a valid tag"),
        (["--tag", "night"], "unknown tag 'night'"),
        (["--expect", "dies:("], "--expect: '('"),
    ],
)
@pytest.mark.usefixtures("here")
def test_rejects_bad_options(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main.main(["plan", *words]) == 2
    assert f"foothold: {told}" in capsys.readouterr().err


def commands(page: str) -> list[str]:
    """The command lines of `run` and `plan` in a page of the documentation, without its comments."""
    text = re.sub(r"<!--.*?-->", "", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)
    return re.findall(r"\./foothold ((?:run|plan) [^`)\n]+)", text)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", [*commands("ci.md"), *commands("plans.md")])
def test_commands_in_the_documentation_can_be_parsed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of `run` by `plan`, which chooses cells in the same way."""
    shutil.copy(find_plan("default"), tmp_path / "mine.toml")
    (tmp_path / "server").touch(0o755)
    monkeypatch.chdir(tmp_path)
    for variable, value in {"$CI_NODE_INDEX": "2", "$CI_NODE_TOTAL": "4"}.items():
        command = command.replace(variable, value)
    words = shlex.split(command.replace("--subject server", "--subject ./server"))
    for option in ("--junit", "--run-dir", "--json", "--html"):  # of `run` alone
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    assert main.main(["plan", *words[1:]]) == 0


VALUES = st.sampled_from([
    "1", "-1", "1.5", "nan", "true", '""', '"x"', '"*"', '"native"', '"starts"', "[]", '["*"]',
    '["x"]', '["native", "native"]', "[1]", "[[]]", "{}", '{ a = "b" }', "{ a = {} }", "1979-05-27",
    '["none"]', '"\\u0007"', '["\\u0000"]', '"[a-"', '["[!"]',
])  # fmt: skip
KEYS = st.sampled_from([each.key for each in SETTINGS] + [key for key in SECTIONS if key] + ["x"])


@settings(max_examples=300)
@given(st.data())
def test_a_random_plan_is_valid_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = PLAN.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key, equals, _ = lines[at].partition(" = ")
        if equals and data.draw(st.booleans()):
            lines[at] = f"{key} = {data.draw(VALUES)}"
        else:
            lines.insert(at, f"{data.draw(KEYS)} = {data.draw(VALUES)}")
    if data.draw(st.booleans()):
        lines.append(f"[[{data.draw(KEYS)}]]\n{data.draw(KEYS)} = {data.draw(VALUES)}")
    path = tmp_path_factory.getbasetemp() / "whatever.toml"
    path.write_text("\n".join(lines))
    try:
        cells = load_plan(path, KNOWN).cells()
    except UsageError as error:
        assert str(error).startswith(str(path))
    else:
        assert len(cells) == len({cell.id for cell in cells})
