"""Penstock beside its peers, measured on one machine in one run: ``python -m benchmarks --help``."""
