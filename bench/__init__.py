"""Benchmarks, one module a subject: `./foothold bench allocator`. They print; they test nothing."""
