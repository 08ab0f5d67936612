"""Benchmarks. Each compares two quantities in one run, because machines differ and timings are noisy."""
