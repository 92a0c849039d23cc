"""Renders the history of runs as a static site: pages, charts and a feed.

* `timelines`   the results of each cell, run by run
* `changes`     what a run changed: results, guests, kernels, packages, findings
* `charts`      the charts of a plan, drawn by Vega-Lite
* `pages`       the pages of the site
* `feed`        an Atom feed, and JSON, of new findings
* `site`        a directory with all of it
"""

from foothold_lab.harness.dashboard.changes import NewFinding
from foothold_lab.harness.dashboard.site import Site, SiteOptions, write_site

__all__ = ["NewFinding", "Site", "SiteOptions", "write_site"]
