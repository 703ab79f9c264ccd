"""A queue at its bound with its producers waiting: what that costs a producer of another queue.

Some producers wait in the very client that is measured, others on connections of their own. Alone and beside are
measured in turn, and each share is of two loads that followed each other.
"""

from benchmarks.scenarios.visit import Visit

_PAIRS = 3


def measure(visit: Visit) -> None:
    """Penstock only: the peers have other answers to a full queue."""
    if visit.system.family != "penstock":
        return
    for _ in range(_PAIRS):
        alone, beside = (_publish(visit, stuck) for stuck in (False, True))
        visit.add("bounds_alone", alone)
        visit.add("bounds_beside", beside)
        visit.add("bounds_share", beside / alone * 100)


def _publish(visit: Visit, stuck: bool) -> float:
    job = visit.job("publish", visit.queue(), seconds=visit.options.seconds, stuck=stuck)
    return visit.crew.produce(job).rate
