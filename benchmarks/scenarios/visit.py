"""A visit: one broker started on an empty directory, with a producer and a consumer process of its own."""

import itertools
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.crew import Crew
from benchmarks.jobs import Goal, Job, Outcome
from benchmarks.options import Options
from benchmarks.results import Results
from benchmarks.systems import System
from benchmarks.systems.base import Running

_SETTLE_SECONDS: Final = 0.3
"""A broker just started is left alone this long before its idle memory is read."""


@dataclass(slots=True)
class Visit:
    """What a scenario works with."""

    system: System
    running: Running
    crew: Crew
    directory: Path
    options: Options
    results: Results
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def queue(self) -> str:
        """Return a queue name not used before."""
        return f"q{next(self._numbers)}"

    def job(self, action: str, queue: str, **fields: Any) -> Job:
        """Return a job for this broker."""
        return Job(
            action=action,
            family=self.system.family,
            flavour=self.system.flavour,
            port=self.running.port,
            queue=queue,
            **fields,
        )

    def add(self, measure: str, value: float, body_bytes: int = 100) -> None:
        """Record a figure of this system."""
        self.results.add(self.system.name, measure, value, body_bytes)

    def both(self, seconds: float, **fields: Any) -> tuple[Outcome, Outcome, float]:
        """Publish for ``seconds`` while another process consumes it all.

        Returns both outcomes and the broker's CPU seconds per million messages (0 where none arrived).
        """
        queue, goal = self.queue(), Goal.create(self.directory / "goal")
        before = self.running.process.cpu_seconds()
        produced, consumed = self.crew.both(
            self.job("publish", queue, seconds=seconds, goal=goal, **fields),
            self.job("consume", queue, seconds=seconds * 6 + 2, goal=goal, **fields),
        )
        used = self.running.process.cpu_seconds() - before
        if consumed.count < produced.count:
            lacking = produced.count - consumed.count
            self.results.fail(f"{self.system.name}: {lacking} of {produced.count} messages not consumed in time")
        return produced, consumed, used / consumed.count * 1e6 if consumed.count else 0.0

    def restart(self) -> None:
        """Kill the broker and start it again on the same data."""
        self.running.process.stop(signal.SIGKILL)
        self.running = self.system.start(self.directory)


@contextmanager
def open_visit(system: System, options: Options, results: Results) -> Iterator[Visit]:
    """Start the broker and its crew; record start time and idle memory; end all and remove the data afterwards."""
    directory = Path(tempfile.mkdtemp(prefix=f"benchmark-{system.name}-", dir=options.directory))
    try:
        running = system.start(directory)
        with Crew(directory) as crew:
            visit = Visit(system, running, crew, directory, options, results)
            try:
                time.sleep(_SETTLE_SECONDS)
                visit.add("start_s", running.start_seconds)
                visit.add("idle_rss_mb", running.process.rss_mb())
                yield visit
            finally:
                visit.running.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
