"""Makes one run of the runs of a plan's shards.

* `sources`   the run directories, which may be archives
* `shards`    which shards there are, and which cells have no verdict
* `replay`    the events and the evidence of the merged run
"""

from foothold_lab.harness.merge.replay import MergeSummary, merge
from foothold_lab.harness.merge.shards import MergedRun, ShardRun, combine, read_shard
from foothold_lab.harness.merge.sources import open_source

__all__ = [
    "MergeSummary", "MergedRun", "ShardRun", "combine", "merge", "open_source", "read_shard"
]  # fmt: skip
