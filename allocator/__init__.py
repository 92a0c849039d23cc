"""The subject: Go's memory allocator of February 2012, ported call for call.

What lives here is what runs inside a guest: the reservation of the arena (`arena`), the heap above
it (`heap`, `central`, `cache`, `malloc`), the two kernels it can run on (`realkernel`,
`modelkernel`), and the report (`__main__`). `predict` and `bundle` run on the host only.

What may enter: the standard library, nothing of this project outside the folder, and on the path
from start to report as few modules as can be, since starting is most of a cell's time. Names are
Go's own, in snake case; each docstring names the Go function it ports.
"""
