"""The default subject: Go's memory allocator of February 2012, ported call by call.

It runs inside a guest: it reserves the arena (`arena`), allocates from it (`heap`, `central`,
`cache`, `malloc`) on one of two kernels (`realkernel`, `modelkernel`), and writes a report
(`__main__`). `predict` and `bundle` run on the host only.

The modules import only the standard library and each other, without circles. On the path from the
start to the report they import as few modules as possible, because the start takes most of a cell's
time. Names are Go's own, in snake case; each docstring names the Go function that it ports.
"""
