"""STATUS: what the broker is doing; to a session in a namespace, what goes on in that."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from penstock.core.bounds import waiting_count
from penstock.core.names import namespace_of
from penstock.core.namespacing import describe_namespace
from penstock.core.queue import Queue

if TYPE_CHECKING:
    from penstock.engine.arguments import Call
    from penstock.engine.engine import Engine

NAMESPACES_SHOWN_MAX: Final = 100
"""Of those that have limits, by name; NAMESPACE_LIST has all."""


def status(call: Call) -> dict[str, Any]:
    """Carry out ``status``."""
    call.arguments.end()
    engine, broker = call.engine, call.engine.broker
    engine.alarms.check()
    health = "failed" if engine.failure else "full" if broker.storage_full else "ok"
    if call.session.namespace:
        space = broker.namespaces.by_name[call.session.namespace]
        described = describe_namespace(broker, space)
        del described["namespace"], described["created_at_ms"]
        alarms = [alarm for alarm in engine.alarms.raised() if namespace_of(alarm["queue"]) == space.name]
        return described | _totals(space.queues.values()) | {"storage": health, "alarms": alarms}
    limited = [space for _, space in sorted(broker.namespaces.by_name.items()) if any(space.settings.as_map().values())]
    return {
        "boot_epoch": broker.boot_epoch,
        "queues": len(broker.queues),
        **_totals(broker.queues.values()),
        **_of_the_broker(engine),
        "alarms": engine.alarms.raised(),
        "storage": health,
        "namespaces": [describe_namespace(broker, space) for space in limited[:NAMESPACES_SHOWN_MAX]],
    }


def _totals(queues: Collection[Queue]) -> dict[str, int]:
    groups = [group for queue in queues for group in queue.groups.values()]
    return {
        "consumers": sum(len(group.consumers) for group in groups),
        "messages": sum(waiting_count(queue) for queue in queues),
        "acked": sum(group.counters.acked for group in groups),
        "redelivered": sum(group.counters.redelivered for group in groups),
    }


def _of_the_broker(engine: Engine) -> dict[str, int]:
    boxes = engine.reply_boxes
    return {
        "delivered": engine.delivered,
        "reply_boxes": len(boxes),
        "replies_delivered": boxes.delivered_count,
        "replies_gone": boxes.gone_count,
        "replies_full": boxes.full_count,
        "commits": engine.commits,
        "journal_bytes": engine.journal.total_bytes,
        "live_bytes": engine.blocks.live_bytes,
        "cache_bytes": engine.blocks.cache_bytes,
        "segments": len(engine.journal.segments),
    }
