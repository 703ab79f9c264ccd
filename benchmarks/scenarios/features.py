"""What features cost: each beside the plain queue, in the same visit and so on the same broker. Penstock only."""

from benchmarks.clients.features import DELAY_SECONDS, GROUP_COUNT, KEYS
from benchmarks.jobs import Goal
from benchmarks.scenarios.visit import Visit

_BACKLOG_MESSAGES = 2 * KEYS
"""Published before anything is consumed, so that most of the keys are live."""
_DRAIN_SECONDS_MAX = 60.0


def measure(visit: Visit) -> None:
    """The plain queue first, then every feature."""
    if visit.system.family != "penstock":
        return
    plain = _publish_and_consume(visit)
    topic = _publish_and_consume(visit, feature="topic")
    visit.add("topic_publish_ratio", topic[0] / plain[0])
    visit.add("topic_consume_ratio", topic[1] / plain[1])
    groups = _publish_and_consume(visit, feature="groups", copies=GROUP_COUNT)
    visit.add("groups_publish_ratio", groups[0] / plain[0])
    visit.add("groups_consume_ratio", groups[1] / plain[1])
    delayed = _publish_and_consume(visit, feature="delay", idle_seconds=DELAY_SECONDS)
    visit.add("delay_publish_ratio", delayed[0] / plain[0])
    visit.add("delay_consume_ratio", delayed[1] / plain[1])
    priority = _publish_and_consume(visit, feature="priority")
    visit.add("priority_publish_ratio", priority[0] / plain[0])
    visit.add("priority_consume_ratio", priority[1] / plain[1])
    visit.add("transaction_publish_ratio", _publish_and_consume(visit, feature="transaction")[0] / plain[0])
    visit.add("keyed_consume_ratio", _drain(visit, "keyed") / _drain(visit, "keys"))


def _publish_and_consume(
    visit: Visit, *, feature: str = "", copies: int = 1, idle_seconds: float = 0.0
) -> tuple[float, float]:
    """Publish for a while as another process consumes it all; return both rates.

    The consumer's first ``idle_seconds``, when nothing is due yet, do not count.
    """
    seconds, queue = visit.options.seconds, visit.queue()
    goal = Goal.create(visit.directory / "goal")
    produced, consumed = visit.crew.both(
        visit.job("publish", queue, seconds=seconds, goal=goal, feature=feature),
        visit.job("consume", queue, seconds=seconds * 6 + 2, goal=goal, feature=feature, copies=copies),
    )
    if consumed.count < produced.count * copies:
        lacking = produced.count * copies - consumed.count
        visit.results.fail(f"{visit.system.name}, {feature or 'plain'}: {lacking} messages not consumed in time")
    return produced.rate, consumed.count / max(consumed.seconds - idle_seconds, 1e-9)


def _drain(visit: Visit, feature: str) -> float:
    """Publish a backlog of messages with keys, then consume it; return that rate."""
    queue = visit.queue()
    amount = {"count": _BACKLOG_MESSAGES, "seconds": _DRAIN_SECONDS_MAX, "feature": feature}
    visit.crew.produce(visit.job("publish", queue, **amount))
    return visit.crew.consume(visit.job("consume", queue, **amount)).rate
