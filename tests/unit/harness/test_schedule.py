"""The schedule: only jobs that fit start, and no job waits for ever."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foothold_lab.harness.runner.schedule import Job, Schedule


def jobs(*seconds: float, memory: int = 100) -> list[Job[int]]:
    return [Job(n, each, memory) for n, each in enumerate(seconds)]


def test_starts_the_longest_job_first_each_on_its_own_processor() -> None:
    schedule = Schedule(jobs(1, 3, 2), [4, 5], 1000)
    with schedule.next() as first, schedule.next() as second:
        assert (first, second) == ((1, 4), (2, 5))
    with schedule.next() as third:
        assert third is not None
        assert third[0] == 0
    with schedule.next() as none:
        assert none is None


def test_starts_a_short_job_that_fits_before_a_long_job_that_does_not() -> None:
    wide = Job(0, 9.0, 600)
    schedule = Schedule([wide, Job(1, 8.0, 600), Job(2, 1.0, 100)], [0, 1], 1000)
    with schedule.next() as first, schedule.next() as second:
        assert first is not None
        assert second is not None
        assert (first[0], second[0]) == (0, 2)


def test_runs_a_job_alone_that_needs_more_memory_than_there_is() -> None:
    schedule = Schedule([Job("large", 1.0, 5000), Job("small", 9.0, 10)], [0, 1], 100)
    with schedule.next() as small:
        assert small == ("small", 0)
        begun = threading.Event()
        got: list[object] = []

        def other() -> None:
            with schedule.next() as job:
                got.append(job)
                begun.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert not begun.wait(0.05)  # it waits while another job runs
    assert begun.wait(10)
    thread.join()
    assert got == [("large", 1)]


def test_stop_wakes_waiting_threads() -> None:
    schedule = Schedule([Job("a", 1.0, 100), Job("b", 1.0, 100)], [0, 1], 100)
    got: list[object] = []

    def other() -> None:
        with schedule.next() as job:
            got.append(job)

    with schedule.next():
        thread = threading.Thread(target=other)
        thread.start()
        schedule.stop()
        thread.join(10)
    assert got == [None]


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 300)), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(1, 500),
)
def test_runs_every_job_once_within_the_memory(
    asked: list[tuple[int, int]], processors: int, memory: int
) -> None:
    work = [Job(n, float(seconds), size) for n, (seconds, size) in enumerate(asked)]
    schedule = Schedule(work, range(processors), memory)
    guard, running, done = threading.Lock(), [], []

    def thread() -> None:
        while True:
            with schedule.next() as job:
                if job is None:
                    return
                size = work[job[0]].memory
                with guard:
                    running.append(size)
                    assert sum(running) <= memory or len(running) == 1
                    done.append(job[0])
                with guard:
                    running.remove(size)

    threads = [threading.Thread(target=thread) for _ in range(processors)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
        assert not each.is_alive()
    assert sorted(done) == list(range(len(work)))


# seconds that guests take for boot and cells, and the estimates of the catalogue: synthetic values
# with the size and spread of runs on two processors
DEFAULT = ((1.1, 0.58), (1.9, 1.8), (2.9, 1.8), (2.4, 1.8), (1.6, 1.8), (3.3, 3.3))
WIDE = (*DEFAULT, (4.1, 3.3), (4.4, 3.3), (3.0, 3.3), (0.9, 0.58), (3.9, 3.3), (2.2, 1.8))


def packed(order: Sequence[float], processors: int) -> float:
    free = [0.0] * processors
    for seconds in order:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def best(durations: Sequence[float]) -> float:
    """Return the shortest time of two processors, by exhaustive search."""
    return min(
        max(sum(half), sum(durations) - sum(half))
        for n in range(len(durations) + 1)
        for half in itertools.combinations(durations, n)
    )


@pytest.mark.parametrize("measured", [DEFAULT, WIDE], ids=["default", "wide"])
def test_takes_at_most_1_3_times_the_best_packing(measured: Sequence[tuple[float, float]]) -> None:
    schedule = Schedule([Job(true, guess, 1) for true, guess in measured], [0], 1000)
    order = []
    while True:
        with schedule.next() as job:
            if job is None:
                break
            order.append(job[0])
    assert packed(order, 2) <= 1.3 * best([true for true, _ in measured])
