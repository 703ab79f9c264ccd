"""Publish-to-delivery latency at a steady rate, through the Python client, in separate processes."""

from benchmarks.scenarios.visit import Visit


def measure(visit: Visit) -> None:
    """Measure every body size; for Penstock also a queue in memory."""
    for body_bytes in visit.options.body_sizes:
        _measure(visit, "latency", body_bytes, durable=True)
    if visit.system.family == "penstock":
        _measure(visit, "memory_latency", 100, durable=False)


def _measure(visit: Visit, name: str, body_bytes: int, durable: bool) -> None:
    queue, count = visit.queue(), visit.options.latency_messages
    seconds = count / 1000 + 3
    _, consumed = visit.crew.both(
        visit.job("latency_publish", queue, count=count, seconds=seconds, body_bytes=body_bytes, durable=durable),
        visit.job("latency_consume", queue, count=count, seconds=seconds, body_bytes=body_bytes, durable=durable),
    )
    if consumed.count < count:
        visit.results.fail(f"{visit.system.name}: {count - consumed.count} of {count} latency samples did not arrive")
    samples = sorted(consumed.samples)
    if samples:
        visit.add(f"{name}_p50_ms", samples[len(samples) // 2] * 1e3, body_bytes)
        visit.add(f"{name}_p99_ms", samples[int(len(samples) * 0.99)] * 1e3, body_bytes)
