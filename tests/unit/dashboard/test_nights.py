"""The replays of `./foothold bench nights`: the events of a real run at another time."""

from __future__ import annotations

from pathlib import Path

from bench.nights import DAY, NIGHTS, STORY, replays
from foothold_lab.harness.dashboard import SiteOptions, write_site
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import MEMORY, Database
from tests.unit.dashboard.test_site import LOW, write_run
from tests.unit.results_db.made import Made, fails, passes


def test_a_replay_has_another_time_and_says_what_it_repeats(tmp_path: Path) -> None:
    real = {}
    with Database(MEMORY) as database:
        for letter, verdict in (("a", passes), ("b", fails)):
            real[letter] = tmp_path / letter
            made = Made(name=f"real-{letter}", at=1e9, verdicts={LOW: verdict(LOW)})
            write_run(real[letter], made)
            reader.add(database, real[letter])
        replays(database, real, "aab", 1e9)
        runs = reader.runs(database)
        told = [(run.started, run.replay_of) for run in runs if run.replay_of]
        assert told == [(1e9 - DAY * n, f"real-{x}") for n, x in ((1, "b"), (2, "a"), (3, "a"))]
        newest = next(run for run in runs if run.replay_of)
        [cell] = reader.find(database, newest.name).cells
        assert cell.result == "fail"
        assert [cell.seconds] == [each.seconds for each in reader.find(database, "real-b").cells]
        write_site(database, tmp_path / "site", SiteOptions(charts=False))
    page = (tmp_path / "site/plans/nightly/index.html").read_text()
    assert "3 of these 5 runs are replays" in page


def test_the_story_is_told_by_real_nights() -> None:
    assert set(STORY) < set(NIGHTS)
    assert len(STORY) + len(NIGHTS) >= 30
