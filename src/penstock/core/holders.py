"""Who holds what: consumers as an operator sees them, and leases taken away from a holder that is stuck."""

from __future__ import annotations

from typing import Any, Final

from penstock.core.broker import Broker, Cancelled
from penstock.core.delivery import remove_consumer
from penstock.core.group import Group
from penstock.core.session import Consumer, Session, Taken
from penstock.core.settling import take_back
from penstock.core.values import Refusal, Refused

REVOKED: Final = "taken away by an operator"


def find_session(broker: Broker, number: int) -> Session:
    """Return an open session; raises Refused (unknown-session)."""
    session = broker.sessions.get(number)
    if session is None:
        raise unknown_session(number)
    return session


def unknown_session(number: int) -> Refused:
    """Return the refusal of a connection that is not there, or not for who asks."""
    return Refused("unknown-session", f"there is no connection {number}; it may have ended")


def describe_session(session: Session, now_ms: int) -> dict[str, Any]:
    """A connection's session: who, since when, and what it holds."""
    return {
        "session": session.number,
        "name": session.name,
        "namespace": session.namespace,
        "age_ms": now_ms - session.opened_ms,
        "producer": session.producer or None,
        "routes": len(session.routes),
        "consumers": len(session.consumers),
        "leased": sum(lease.count for lease in session.leases),
    }


def describe_consumer(consumer: Consumer, now_ms: int) -> dict[str, Any]:
    """A consumer with its credit; ``lease_ends_in_ms`` is when the first of its leases ends, None when it has none."""
    group = consumer.group
    ends = [lease.deadline_ms for lease in consumer.session.leases if lease.consumer is consumer]
    return {
        "session": consumer.session.number,
        "consumer": consumer.number,
        "name": consumer.name,
        "queue": group.queue.name,
        "group": group.name,
        "priority": consumer.priority,
        "exclusive": consumer.exclusive,
        "active": group.settings.mode != "single" or group.active is consumer,
        "prefetch_messages": consumer.prefetch_messages,
        "prefetch_bytes": consumer.prefetch_bytes,
        "leased": consumer.leased_messages,
        "leased_bytes": consumer.leased_bytes,
        "lease_ends_in_ms": max(0, min(ends) - now_ms) if ends else None,
    }


def close_consumer(broker: Broker, session: Session, number: int, now_ms: int) -> int:
    """End a consumer by an operator's word: it is told, and what it holds goes back. Returns how many messages."""
    consumer = session.consumers.get(number)
    if consumer is None:
        raise Refused("unknown-consumer", f"connection {session.number} has no consumer {number}")
    held = [(lease.first_tag, lease.first_tag + lease.count) for lease in session.leases if lease.consumer is consumer]
    taken = [part for first_tag, end_tag in held for part in session.take(first_tag, end_tag)]
    take_back(broker, taken, None, now_ms)
    remove_consumer(broker, consumer)
    refusal = Refusal("consumer-closed", f"consumer {consumer.name!r} was closed by an operator")
    broker.cancelled.append(Cancelled(session.number, number, refusal))
    return sum(part.end - part.first for part in taken)


def revoke(broker: Broker, group: Group, offset: int, failed: bool, now_ms: int) -> str:
    """Take the lease of one message away from its holder; return the holder's name.

    The message goes back to its place, or counts a failure. What its holder says of it from then on is stale.
    """
    taken = _take(broker, group, offset)
    if taken is None:
        where = f"message {offset} of group {group.name!r} of queue {group.queue.name!r}"
        raise Refused("not-leased", f"{where} is not leased; `find --state leased` shows what is")
    take_back(broker, [taken], REVOKED if failed else None, now_ms)
    return taken.consumer.name


def _take(broker: Broker, group: Group, offset: int) -> Taken | None:
    for session in broker.sessions.values():
        for lease in session.leases:
            if lease.consumer.group is group and lease.first <= offset < lease.first + lease.count:
                tag = lease.first_tag + offset - lease.first
                return session.take(tag, tag + 1)[0]
    return None
