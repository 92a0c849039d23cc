"""Renders a survey as one HTML page.

* `view`  turns a survey into rows, columns and fields
* `page`  fills the template; the frame, style and macros are those of the report (html_report)
"""

from foothold_lab.harness.survey_page.page import Place, render

__all__ = ["Place", "render"]
