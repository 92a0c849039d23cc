"""Turns a run of many runtimes into one page.

The page is made from the run directory, whose traces are read again, and from thresholds. So it can
be written again without a guest. A new guest in the run is a new column of the page.

* `loader`     reads a run directory into values
* `digest`     shortens a program's requests for addresses to those that matter
* `prose`      describes them in sentences: request, answer of the kernel, reaction of the program
* `imitation`  compares an imitated kernel with the real one
* `markdown`   writes the page docs/survey.md
"""

from foothold_lab.harness.survey.loader import FILE, SubjectInfo, SurveyData, read
from foothold_lab.harness.survey.markdown import markdown

__all__ = ["FILE", "SubjectInfo", "SurveyData", "markdown", "read"]
