"""Benchmarks of time and memory, run by ``python -m core bench``."""
