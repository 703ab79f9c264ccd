"""Request and reply through the SDK, one at a time and many in flight, beside publishing and consuming as many."""

from typing import Final

from benchmarks.jobs import Goal
from benchmarks.scenarios.visit import Visit

IN_FLIGHT: Final = 100


def measure(visit: Visit) -> None:
    """Measure on a durable queue and on one in memory. Penstock only."""
    if visit.system.family != "penstock":
        return
    for prefix, durable in (("", True), ("memory_", False)):
        for kind, asking, serving in (("plain", "publish_each", "acknowledge_each"), ("request", "ask", "answer")):
            for in_flight in (1, IN_FLIGHT):
                _measure(visit, f"{prefix}{kind}", asking, serving, in_flight, durable)


def _measure(visit: Visit, name: str, asking: str, serving: str, in_flight: int, durable: bool) -> None:
    queue, goal, seconds = visit.queue(), Goal.create(visit.directory / "goal"), visit.options.seconds
    asked, _ = visit.crew.both(
        visit.job(asking, queue, seconds=seconds, goal=goal, connections=in_flight, durable=durable),
        visit.job(serving, queue, seconds=seconds * 6 + 2, goal=goal, durable=durable),
    )
    samples = sorted(asked.samples)
    if not samples:
        return
    if in_flight == 1:
        visit.add(f"{name}_p50_ms", samples[len(samples) // 2] * 1e3)
    else:
        visit.add(f"{name}_rate", asked.rate)
