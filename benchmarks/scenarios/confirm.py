"""One connection, one message at a time: how long a confirm takes, beside the machine's own append and fdatasync."""

import statistics

from benchmarks.machine import append_sync_seconds
from benchmarks.results import MACHINE
from benchmarks.scenarios.visit import Visit


def measure(visit: Visit) -> None:
    """Measure the disk before and after the confirms: through the client, and on a raw socket."""
    _measure_disk(visit)
    seconds = visit.options.seconds / 2
    for kind, job in (
        ("client", visit.job("confirm_each", visit.queue(), seconds=seconds)),
        ("raw", visit.job("connections", visit.queue(), seconds=seconds, raw=True)),
    ):
        samples = visit.crew.produce(job).samples
        if samples:
            visit.add(f"{kind}_confirm_p50_ms", statistics.median(samples) * 1e3)
    _measure_disk(visit)


def _measure_disk(visit: Visit) -> None:
    if visit.system.family == "penstock":
        taken = append_sync_seconds(visit.directory)
        visit.results.add(MACHINE, "append_sync_ms", statistics.median(taken) * 1e3)
