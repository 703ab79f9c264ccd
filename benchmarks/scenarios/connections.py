"""Many connections, each publishing one message at a time with pre-encoded frames."""

from benchmarks.scenarios.visit import Visit


def measure(visit: Visit) -> None:
    """Measure confirmed messages per second over all connections."""
    count = visit.options.connections
    job = visit.job("connections", visit.queue(), seconds=visit.options.seconds, connections=count, raw=True)
    visit.add("connections_publish", visit.crew.produce(job).rate)
