"""Renders a run directory as one HTML page.

* `read`         reads a run directory, and trusts none of its content
* `space`        names the purpose of each mapping of an address space
* `address_map`  places mappings and requests in a drawing
* `ledger` `cells` `summary`  prepare what the templates show
* `comparison`   compares two runs
* `page`         fills the templates
* `reporter`     writes the file at the end of a run

Templates, style and script are files beside these modules. The page needs no network, and can be
read without scripts. Text of a subject is never markup in it.
"""
