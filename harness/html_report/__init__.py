"""Renders a run directory as one HTML page.

`read` takes a run directory in and trusts nothing of it. `space` names what lies where in an
address space, `picture` says where that stands in a drawing. `ledger`, `cells` and `summary` make
of it what the templates show; `comparison` lays two runs side by side; `page` fills the templates.
`sink` writes the file at the end of a run. Templates, style and script are files beside them.

It may know values, witnesses and sinks; only the doors know it. A page needs no network and no
script to be read, and nothing that a subject wrote can be anything but text in it.
"""
