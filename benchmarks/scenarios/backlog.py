"""A backlog without a consumer: memory, drain rate beside the rate without a backlog, restart on it. Penstock only."""

import time

from benchmarks.scenarios.visit import Visit

_BODY_BYTES = 200
_REFERENCE_MESSAGES_MAX = 500_000
_PUBLISH_SECONDS_MAX = 30.0
_DRAIN_SECONDS_MAX = 30.0
_SETTLE_SECONDS = 1.0


def measure(visit: Visit) -> None:
    """Coalesced messages first; then, in a queue of its own, records of one message each."""
    options = visit.options
    short = min(_REFERENCE_MESSAGES_MAX, options.backlog_messages)
    visit.add("backlog_reference_consume", _reference(visit, short))
    _backlog(visit, "backlog", options.backlog_messages, batch=500)
    visit.add("backlog_reference_consume", _reference(visit, short))
    _backlog(visit, "backlog_single", options.backlog_single_messages, batch=1)


def _reference(visit: Visit, count: int) -> float:
    """Consume/s of a short queue, as the drain will be done: SDK, one consumer, an ack each."""
    queue = visit.queue()
    published = visit.crew.produce(
        visit.job("publish", queue, count=count, seconds=_PUBLISH_SECONDS_MAX, body_bytes=_BODY_BYTES, raw=True)
    )
    return visit.crew.consume(
        visit.job("consume", queue, count=published.count, seconds=_DRAIN_SECONDS_MAX, body_bytes=_BODY_BYTES)
    ).rate


def _backlog(visit: Visit, name: str, count: int, batch: int) -> None:
    queue = visit.queue()
    published = visit.crew.produce(
        visit.job(
            "publish",
            queue,
            count=count,
            seconds=_PUBLISH_SECONDS_MAX,
            body_bytes=_BODY_BYTES,
            raw=True,
            batch=batch,
        )
    )
    visit.add(f"{name}_messages", published.count)
    visit.add(f"{name}_publish", published.rate)
    time.sleep(_SETTLE_SECONDS)
    visit.add(f"{name}_rss_mb", visit.running.process.rss_mb())
    visit.restart()
    visit.crew.produce(visit.job("create", queue))
    visit.add(f"{name}_restart_s", time.perf_counter() - visit.running.process.started_at)
    drained = visit.crew.consume(
        visit.job("consume", queue, count=published.count, seconds=_DRAIN_SECONDS_MAX, body_bytes=_BODY_BYTES)
    )
    visit.add(f"{name}_drain", drained.rate)
    visit.add(f"{name}_peak_rss_mb", visit.running.process.rss_peak_mb())
    if drained.count < published.count:
        visit.results.fail(f"{name}: {published.count - drained.count} of {published.count} messages not drained")
