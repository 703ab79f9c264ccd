"""What the simulator raises when a promise of RELIABILITY.md does not hold."""

from __future__ import annotations


class Violation(AssertionError):
    """A broken invariant: its number, and what was seen."""

    def __init__(self, invariant: str, seen: str) -> None:
        super().__init__(f"{invariant}: {seen}")
        self.invariant = invariant
