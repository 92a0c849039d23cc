"""Benchmarks, one module a subject: `python -m bench allocator`. They print; they test nothing."""
