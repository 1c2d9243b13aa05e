"""Benchmarks: declared as data in `suites`, run by `scripts/benchmark.py`."""
