"""Every figure of a run: which system, which measure, which body size, and one value per round."""

import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

MACHINE = "machine"
"""The system name of figures that are the machine's own."""


class Key(NamedTuple):
    """What a figure is of."""

    system: str
    measure: str
    body_bytes: int = 100


class Summary(NamedTuple):
    """One figure over all rounds."""

    low: float
    median: float
    high: float
    rounds: int


@dataclass(slots=True)
class Results:
    """Collects figures, and what could not be measured."""

    values: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    missing: dict[str, str] = field(default_factory=dict)
    """Systems that are not installed, and why."""
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, system: str, measure: str, value: float, body_bytes: int = 100) -> None:
        """Add one value."""
        self.values[Key(system, measure, body_bytes)].append(value)

    def fail(self, text: str) -> None:
        """Say once what could not be measured."""
        if text not in self.failures:
            self.failures.append(text)

    def summary(self, system: str, measure: str, body_bytes: int = 100) -> Summary | None:
        """Return minimum, median and maximum over the rounds, or None where nothing was measured."""
        values = self.values.get(Key(system, measure, body_bytes))
        if not values:
            return None
        return Summary(min(values), statistics.median(values), max(values), len(values))

    def median(self, system: str, measure: str, body_bytes: int = 100) -> float | None:
        """Return the median over the rounds."""
        summary = self.summary(system, measure, body_bytes)
        return summary.median if summary else None

    def best(self, systems: list[str], measure: str, highest: bool = True) -> tuple[str, float] | None:
        """Return the system with the best median at 100 B, and that median."""
        medians = [(name, value) for name in systems if (value := self.median(name, measure)) is not None]
        if not medians:
            return None
        return (max if highest else min)(medians, key=lambda pair: pair[1])
