"""Experiments: variants x seeds of runs, trained, tested and reported."""
