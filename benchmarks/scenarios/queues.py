"""Many queues: messages spread at random over some of them by one pipelined producer; what an idle queue costs."""

import time
from typing import Any

from benchmarks.scenarios.visit import Visit

_SETTLE_SECONDS = 1.0


def measure(visit: Visit) -> None:
    """Peers get only the queues that are used, which favours them; Penstock gets all of them."""
    options = visit.options
    if visit.system.family == "penstock":
        _idle_queues(visit, options.queues - options.queues_used)
    queue, used = visit.queue(), options.queues_used
    for _ in range(options.queues_rounds):
        _spread(visit, "client_spread", queue, used)
        _spread(visit, "raw_spread", queue, used, raw=True)
    if visit.system.family == "penstock":
        _spread(visit, "separate_spread", queue, used, separate=True)


def _spread(visit: Visit, measure: str, queue: str, used: int, **fields: Any) -> None:
    job = visit.job("publish", queue, seconds=visit.options.seconds, queues=used, **fields)
    visit.add(measure, visit.crew.produce(job).rate)


def _idle_queues(visit: Visit, count: int) -> None:
    process = visit.running.process
    visit.crew.produce(visit.job("create", visit.queue()))
    time.sleep(_SETTLE_SECONDS)
    before = process.rss_mb()
    visit.crew.produce(visit.job("create", visit.queue(), queues=count))
    time.sleep(_SETTLE_SECONDS)
    visit.add("idle_queue_bytes", (process.rss_mb() - before) * 1e6 / count)
    visit.add("idle_queues", count)
