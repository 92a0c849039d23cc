"""Turns a run of many runtimes into one page.

The page is made from the run directory, whose traces are read again, and from thresholds. So it can
be written again without a guest. A new guest in the run is a new column of the page.

* `loader`       reads run directories into values, and joins several to one survey
* `result_file`  keeps what several runs found in one file
* `store_paths`  shortens the paths of files in the store
* `digest`       shortens a program's requests for addresses to those that matter
* `prose`        describes them in sentences: request, answer of the kernel, reaction of the program
* `imitation`    compares an imitated kernel with the real one
* `markdown`     writes the page docs/survey.md
"""

from foothold_lab.harness.survey.digest import RequestGroup, main_requests
from foothold_lab.harness.survey.loader import (
    FILE,
    Column,
    SubjectInfo,
    Survey,
    SurveyData,
    SurveyedCell,
    SurveyPart,
    join,
)
from foothold_lab.harness.survey.markdown import markdown
from foothold_lab.harness.survey.prose import describe_cell, outcome_word
from foothold_lab.harness.survey.result_file import read, read_parts, write_parts

__all__ = [
    "FILE",
    "Column",
    "RequestGroup",
    "SubjectInfo",
    "Survey",
    "SurveyData",
    "SurveyPart",
    "SurveyedCell",
    "describe_cell",
    "join",
    "main_requests",
    "markdown",
    "outcome_word",
    "read",
    "read_parts",
    "write_parts",
]
