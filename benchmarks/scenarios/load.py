"""Throughput, broker CPU and peak memory: through the Python client, and with pre-encoded frames on raw sockets."""

from benchmarks.scenarios.visit import Visit


def measure(visit: Visit) -> None:
    """Measure every body size of the run."""
    for body_bytes in visit.options.body_sizes:
        for raw in (False, True):
            _separately(visit, body_bytes, raw)
            _at_once(visit, body_bytes, raw)
    if visit.system.family == "penstock":
        _one_message_per_frame(visit)
        _awaiting_handler(visit)
    if visit.system.family == "nats":
        _callback(visit)
    visit.add("peak_rss_mb", visit.running.process.rss_peak_mb())


def _separately(visit: Visit, body_bytes: int, raw: bool) -> None:
    """First only publish, then only consume what was published."""
    kind, seconds, queue = "raw" if raw else "client", visit.options.seconds, visit.queue()
    published = visit.crew.produce(visit.job("publish", queue, seconds=seconds, body_bytes=body_bytes, raw=raw))
    visit.add(f"{kind}_publish", published.rate, body_bytes)
    consumed = visit.crew.consume(
        visit.job("consume", queue, seconds=seconds * 6, count=published.count, body_bytes=body_bytes, raw=raw)
    )
    visit.add(f"{kind}_consume", consumed.rate, body_bytes)


def _at_once(visit: Visit, body_bytes: int, raw: bool) -> None:
    kind = "raw" if raw else "client"
    produced, consumed, cpu = visit.both(visit.options.seconds, body_bytes=body_bytes, raw=raw)
    visit.add(f"{kind}_both_publish", produced.rate, body_bytes)
    visit.add(f"{kind}_both_consume", consumed.rate, body_bytes)
    visit.add(f"{kind}_cpu", cpu, body_bytes)


def _one_message_per_frame(visit: Visit) -> None:
    """Pipelined, but every message in a frame of its own: what clients that cannot coalesce cost the broker."""
    produced, consumed, cpu = visit.both(visit.options.seconds, raw=True, batch=1)
    visit.add("single_both_publish", produced.rate)
    visit.add("single_both_consume", consumed.rate)
    visit.add("single_cpu", cpu)


def _awaiting_handler(visit: Visit) -> None:
    """A handler that gives up the event loop once per message."""
    queue, seconds = visit.queue(), visit.options.seconds
    published = visit.crew.produce(visit.job("publish", queue, seconds=seconds / 2))
    consumed = visit.crew.consume(
        visit.job("consume", queue, seconds=seconds * 6, count=published.count, awaiting=True)
    )
    visit.add("awaiting_consume", consumed.rate)


def _callback(visit: Visit) -> None:
    """nats-py's fastest way to consume: a push consumer with a callback."""
    queue, seconds = visit.queue(), visit.options.seconds
    published = visit.crew.produce(visit.job("publish", queue, seconds=seconds))
    consumed = visit.crew.consume(
        visit.job("consume", queue, seconds=seconds * 6, count=published.count, callback=True)
    )
    visit.add("callback_consume", consumed.rate)
