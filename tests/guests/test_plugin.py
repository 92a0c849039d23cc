"""The pytest plugin in a project of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest

GUESTS = ("native", "uml-6.1", "uml-6.12")

@pytest.mark.foothold_guest(*GUESTS)
@pytest.mark.foothold_limit(rlimit_as="800M")
def test_env_starts(foothold_cell):
    verdict = foothold_cell("/usr/bin/env", "true", expect="starts")
    assert verdict.passed, verdict

@pytest.mark.foothold_guest(*GUESTS)
def test_the_path(foothold_cell, foothold_facts):
    verdict = foothold_cell(policy="after")
    assert verdict.observed.path == ("low" if foothold_facts.bits == 39 else "high")

@pytest.mark.foothold_guest(*GUESTS)
def test_before(foothold_cell, foothold_guest):
    assert foothold_cell(policy="before").observed.path == "high"
"""


@pytest.fixture
def mine(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(TESTS)
    return pytester


@pytest.mark.uml
def test_makes_one_test_for_each_guest_and_reports_evidence(mine: pytest.Pytester) -> None:
    done = mine.runpytest_subprocess("-v", "--strict-markers")
    done.assert_outcomes(passed=7, failed=2)
    done.stdout.fnmatch_lines(
        [
            "*::test_env_starts[[]foothold:native[]] PASSED*",
            "*::test_before[[]foothold:uml-6.1[]] FAILED*",
            "*console of uml-6.1*",
            "*last cell of uml-6.1*",
            "uml-6.1/none/before: pass",
            "trace: *0xf8*",
        ]
    )
    # the tests of one guest follow each other, so that it is booted once
    order = [line for line in done.outlines if "::test_" in line and line.endswith("%]")]
    guests = [line.partition("[")[2].partition("]")[0] for line in order]
    assert guests == sorted(guests, key=guests.index)


def test_reports_a_mistake_at_the_line_of_the_test(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest
        pytestmark = pytest.mark.foothold_guest("native")

        def test_cell(foothold_cell):
            assert foothold_cell("/bin/false").passed

        def test_words(foothold_cell):
            foothold_cell("/bin/true", expect="strats")
        """
    )
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["*Failed: unknown expectation 'strats': did you mean starts?*"])
    done.stdout.no_fnmatch_line("*hooks.py*")
    assert sum("last cell of native" in line for line in done.outlines) == 1


def test_writes_progress_on_lines_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from foothold_lab.harness.pytest_plugin.lab import lab_of

        def test_x(pytestconfig):
            lab_of(pytestconfig).say("building root")
            lab_of(pytestconfig).say("3 of 9 MiB", transient=True)
        """
    )
    done = pytester.runpytest_subprocess("-v")
    done.stdout.fnmatch_lines(["building root", "*::test_x PASSED*"])
    done.stdout.no_fnmatch_line("*3 of 9*")


@pytest.mark.uml
def test_xdist_runs_a_guest_in_one_process(mine: pytest.Pytester) -> None:
    done = mine.runpytest_subprocess("-v", "-n", "2")
    done.assert_outcomes(passed=7, failed=2)
    process: dict[str, set[str]] = {}
    for line in done.outlines:
        if line.startswith("[gw") and "::" in line:
            guest = line.rpartition("[")[2].partition("]")[0]
            process.setdefault(guest, set()).add(line[:5])
    assert set(process) == {"foothold:native", "foothold:uml-6.1", "foothold:uml-6.12"}
    assert all(len(each) == 1 for each in process.values()), process


@pytest.mark.uml
def test_options_select_guests(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nfoothold_guests =\n    native\n    uml-trixie\n")
    pytester.makepyfile("def test_x(foothold_guest): assert foothold_guest.facts.task_size")
    both = pytester.runpytest_subprocess("-v")
    both.assert_outcomes(passed=2)
    alone = pytester.runpytest_subprocess("-v", "--foothold-guest", "native")
    alone.assert_outcomes(passed=1)
    wrong = pytester.runpytest_subprocess("--foothold-guest", "nativ")
    assert wrong.ret != 0
    wrong.stdout.fnmatch_lines(["*unknown guest 'nativ'*known guests: *native*"])


def test_a_guest_that_cannot_boot_skips_or_fails_its_tests(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/at/all.sock")
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.foothold_guest("docker")
        def test_x(foothold_guest): assert foothold_guest
        """
    )
    skipped = pytester.runpytest_subprocess("-rs")
    skipped.assert_outcomes(skipped=1)
    skipped.stdout.fnmatch_lines(["*docker: no Docker engine answers; *"])
    pytester.runpytest_subprocess("--foothold-require").assert_outcomes(errors=1)


@pytest.mark.uml
def test_boots_guests_for_one_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_x(foothold_boot):
            one, other = foothold_boot("native"), foothold_boot("uml-trixie")
            assert other.facts.bits == 39 < one.facts.bits
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_other_tests_keep_their_positions(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.foothold_guest("native", "uml-6.12")
        def test_a(foothold_guest): pass

        @pytest.mark.parametrize("guest", ["uml-6.12", "native"])
        def test_b(guest): pass

        @pytest.mark.foothold_guest("native", "uml-6.12")
        @pytest.mark.parametrize("number", [1, 2])
        def test_c(foothold_guest, number): pass
        """
    )
    done = pytester.runpytest_subprocess("--collect-only", "-q")
    tests = [line.partition("::")[2] for line in done.outlines if "::" in line]
    assert tests == [
        "test_a[foothold:native]",
        "test_c[foothold:native-1]",
        "test_b[uml-6.12]",
        "test_b[native]",
        "test_c[foothold:native-2]",
        "test_a[foothold:uml-6.12]",
        "test_c[foothold:uml-6.12-1]",
        "test_c[foothold:uml-6.12-2]",
    ]


def test_a_fixture_that_overrides_ours_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_own="""
        import pytest

        @pytest.fixture
        def foothold_guest(): return "mine"

        def test_own(foothold_guest): assert foothold_guest == "mine"
        """,
        test_wrapped="""
        import pytest
        pytestmark = pytest.mark.foothold_guest("native")

        @pytest.fixture
        def foothold_guest(foothold_guest): return [foothold_guest]

        def test_wrapped(foothold_guest): assert foothold_guest[0].name == "native"
        """,
    )
    done = pytester.runpytest_subprocess("-v")
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(
        ["*::test_own PASSED*", "*::test_wrapped[[]foothold:native[]] PASSED*"]
    )


# prints how many modules of Foothold were imported, and by what xdist scheduled the tests
CONFTEST = """
import sys

def pytest_sessionfinish(session):
    modules = sum(name.startswith("foothold_lab") for name in sys.modules)
    distributed = session.config.pluginmanager.get_plugin("dsession")
    print(f"\\nscheduler={type(distributed.sched).__name__ if distributed else None} {modules=}")
"""
OURS = 5  # foothold_lab, ._version, .harness, .pytest_plugin, .hooks


def test_a_project_without_our_fixtures_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def guest(): return "mine"

        @pytest.fixture
        def facts(guest): return guest

        def test_one(guest): assert guest == "mine"

        @pytest.mark.parametrize("backend", ["native", "docker", "uml-6.1"])
        def test_two(facts, backend): assert facts == "mine"
        """
    )
    alone = pytester.runpytest_subprocess("-s")
    alone.assert_outcomes(passed=4)
    alone.stdout.fnmatch_lines([f"scheduler=None modules={OURS}"])
    distributed = pytester.runpytest_subprocess("-s", "-n", "2")
    distributed.assert_outcomes(passed=4)
    distributed.stdout.fnmatch_lines([f"scheduler=LoadScheduling modules={OURS}"])


@pytest.mark.parametrize(
    ("options", "scheduler"),
    [(("-n", "2"), "ByGuest"), (("-n", "2", "--dist", "worksteal"), "WorkStealingScheduling")],
)
def test_chooses_a_scheduler_for_our_fixtures_unless_the_user_does(
    pytester: pytest.Pytester, options: tuple[str, ...], scheduler: str
) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.foothold_guest("native")
        @pytest.mark.parametrize("n", range(4))
        def test_x(foothold_guest, n): pass
        """
    )
    done = pytester.runpytest_subprocess("-s", *options)
    done.assert_outcomes(passed=4)
    done.stdout.fnmatch_lines([f"scheduler={scheduler} *"])
