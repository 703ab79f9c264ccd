"""Pre-encoded frames on raw sockets: loads that no Python client library slows down, the same loop for each broker."""

from benchmarks.raw.loops import run

__all__ = ["run"]
