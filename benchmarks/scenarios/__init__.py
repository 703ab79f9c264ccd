"""The parts of a run: what is measured on one started broker."""

from benchmarks.scenarios.visit import Visit, open_visit

__all__ = ["Visit", "open_visit"]
