"""What features cost: each beside the plain queue, in the same visit and so on the same broker. Penstock only."""

from benchmarks.jobs import Goal
from benchmarks.scenarios.visit import Visit


def measure(visit: Visit) -> None:
    """The plain queue first, then every feature."""
    if visit.system.family != "penstock":
        return
    plain = _publish_and_consume(visit)
    routed = _publish_and_consume(visit, topic=True)
    visit.add("topic_publish_ratio", routed[0] / plain[0])
    visit.add("topic_consume_ratio", routed[1] / plain[1])


def _publish_and_consume(visit: Visit, *, topic: bool = False) -> tuple[float, float]:
    """Publish for a while as another process consumes it all; return both rates."""
    seconds, queue = visit.options.seconds, visit.queue()
    goal = Goal.create(visit.directory / "goal")
    produced, consumed = visit.crew.both(
        visit.job("publish", queue, seconds=seconds, goal=goal, topic=topic),
        visit.job("consume", queue, seconds=seconds * 6 + 2, goal=goal),
    )
    return produced.rate, consumed.rate
