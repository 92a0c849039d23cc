"""The pytest plugin, as a user has it: tests of ten lines, in a directory of their own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest

GUESTS = ("native", "uml-6.1", "uml-6.12")

@pytest.mark.guest(*GUESTS)
@pytest.mark.limit(rlimit_as="800M")
def test_env_starts(run_cell):
    verdict = run_cell("/usr/bin/env", "true", expect="starts")
    assert verdict.passed, verdict

@pytest.mark.guest(*GUESTS)
def test_the_path(run_cell, facts):
    verdict = run_cell(policy="after")
    assert verdict.observed.path == ("low" if facts.bits == 39 else "high")

@pytest.mark.guest(*GUESTS)
def test_before(run_cell, guest):
    assert run_cell(policy="before").observed.path == "high"
"""


@pytest.fixture
def mine(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    pytester.makepyfile(TESTS)
    return pytester


def test_one_test_for_each_guest_and_evidence_for_what_fails(mine: pytest.Pytester) -> None:
    done = mine.runpytest_subprocess("-v", "--strict-markers")
    done.assert_outcomes(passed=7, failed=2)
    done.stdout.fnmatch_lines(
        [
            "*::test_env_starts[[]native[]] PASSED*",
            "*::test_before[[]uml-6.1[]] FAILED*",
            "*console of uml-6.1*",
            "*last cell of uml-6.1*",
            "uml-6.1/none/before: pass",
            "trace: *0xf8*",
        ]
    )
    # the tests of one guest are together: one boot for each
    order = [line for line in done.outlines if "::test_" in line and line.endswith("%]")]
    guests = [line.partition("[")[2].partition("]")[0] for line in order]
    assert guests == sorted(guests, key=guests.index)


def test_a_mistake_is_told_where_it_is_made_with_nothing_of_another_test(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest
        pytestmark = pytest.mark.guest("native")

        def test_cell(run_cell):
            assert run_cell("/bin/false").passed

        def test_words(run_cell):
            run_cell("/bin/true", expect="strats")
        """
    )
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["*Failed: unknown expectation 'strats': did you mean starts?"])
    done.stdout.no_fnmatch_line("*hooks.py*")
    assert sum("last cell of native" in line for line in done.outlines) == 1


def test_what_is_said_between_two_tests_takes_no_line_apart(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from harness.pytest_plugin.hooks import _lab

        def test_x(pytestconfig):
            _lab(pytestconfig).say("building root")
            _lab(pytestconfig).say("3 of 9 MiB", passing=True)
        """
    )
    done = pytester.runpytest_subprocess("-v")
    done.stdout.fnmatch_lines(["building root", "*::test_x PASSED*"])
    done.stdout.no_fnmatch_line("*3 of 9*")


def test_with_xdist_a_guest_is_in_one_process_alone(mine: pytest.Pytester) -> None:
    done = mine.runpytest_subprocess("-v", "-n", "2")
    done.assert_outcomes(passed=7, failed=2)
    process: dict[str, set[str]] = {}
    for line in done.outlines:
        if line.startswith("[gw") and "::" in line:
            guest = line.rpartition("[")[2].partition("]")[0]
            process.setdefault(guest, set()).add(line[:5])
    assert set(process) == {"native", "uml-6.1", "uml-6.12"}
    assert all(len(each) == 1 for each in process.values()), process


def test_options_choose_guests_and_make_them_necessary(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nfoothold_guests =\n    native\n    uml-trixie\n")
    pytester.makepyfile("def test_x(guest): assert guest.facts.task_size")
    both = pytester.runpytest_subprocess("-v")
    both.assert_outcomes(passed=2)
    alone = pytester.runpytest_subprocess("-v", "--foothold-guest", "native")
    alone.assert_outcomes(passed=1)
    wrong = pytester.runpytest_subprocess("--foothold-guest", "nativ")
    assert wrong.ret != 0
    wrong.stdout.fnmatch_lines(["*there is no guest 'nativ'*guests are: *native*"])


def test_what_cannot_be_had_is_skipped_or_fails(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/at/all.sock")
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.guest("docker")
        def test_x(guest): assert guest
        """
    )
    skipped = pytester.runpytest_subprocess("-rs")
    skipped.assert_outcomes(skipped=1)
    skipped.stdout.fnmatch_lines(["*docker: no Docker engine answers; *"])
    pytester.runpytest_subprocess("--foothold-require").assert_outcomes(errors=1)


def test_boot_gives_a_guest_of_ones_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_x(boot):
            one, other = boot("native"), boot("uml-trixie")
            assert other.facts.bits == 39 < one.facts.bits
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
