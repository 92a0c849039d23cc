"""Turns a run of many runtimes into one page.

Made of the directory of a run, whose traces are read again, and of thresholds; so it can be written
again without a guest, and a guest that a run has more is a column that it has more.

* `digest`     a traced program's requests for addresses, shortened to those that tell something
* `reading`    a run's directory as values
* `sentences`  what was asked, what the kernel gave, what the program did: in two sentences
* `imitation`  a ceiling instead of a kernel, held against that kernel
* `page`       all of it as docs/survey.md

It knows values and witnesses, and boots nothing.
"""

from foothold_lab.harness.survey.loader import FILE, About, Found, read
from foothold_lab.harness.survey.markdown import markdown

__all__ = ["FILE", "About", "Found", "markdown", "read"]
