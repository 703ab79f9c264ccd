"""Commands about connections, consumers and leases, for operators."""

from __future__ import annotations

from typing import Any, Final

from penstock.core import holders
from penstock.core.definitions import find_queue
from penstock.core.groups import named_groups
from penstock.core.session import Consumer, Session
from penstock.core.values import Refusal
from penstock.engine.arguments import U32_MAX, Call

LIST_LIMIT_MAX: Final = 1000


def connection_list(call: Call) -> dict[str, Any]:
    """Describe connections, by number: a page of those after ``after``."""
    after = call.arguments.number("after", 0)
    limit = call.arguments.number("limit", 500, 1, LIST_LIMIT_MAX)
    call.arguments.end()
    sessions = call.engine.broker.sessions
    numbers = sorted(number for number, one in sessions.items() if number > after and _is_seen(call, one))
    page = [holders.describe_session(sessions[number], call.now_ms) for number in numbers[:limit]]
    return {"connections": page, "more": len(numbers) > limit}


def connection_close(call: Call) -> dict[str, Any]:
    """End a connection; its leases go back, what it had started counts as failed."""
    session = _session(call)
    call.arguments.end()
    refusal = Refusal("closed-by-operator", "this connection was closed by an operator")
    call.engine.sinks[session.number].abort(refusal)
    return {"session": session.number}


def consumer_list(call: Call) -> dict[str, Any]:
    """Describe the consumers of a queue, of one of its groups, or of all queues: a page after (session, consumer)."""
    after = (call.arguments.number("after_session", 0), call.arguments.number("after_consumer", U32_MAX, 0, U32_MAX))
    limit = call.arguments.number("limit", 500, 1, LIST_LIMIT_MAX)
    queue, group = call.arguments.optional("queue"), call.arguments.optional("group")
    call.arguments.end()
    found = sorted(_consumers(call, queue, group), key=_place)
    page = [consumer for consumer in found if _place(consumer) > after]
    described = [holders.describe_consumer(consumer, call.now_ms) for consumer in page[:limit]]
    return {"consumers": described, "more": len(page) > limit}


def consumer_close(call: Call) -> dict[str, Any]:
    """End a consumer; it is told, and what it holds goes back."""
    number = call.arguments.number("consumer", None, 0, U32_MAX)
    session = _session(call)
    call.arguments.end()
    return {"released": holders.close_consumer(call.engine.broker, session, number, call.now_ms)}


def lease_revoke(call: Call) -> dict[str, Any]:
    """Take a message away from its holder."""
    offset = call.arguments.number("offset", None)
    failed = call.arguments.flag("failed", False)
    return {"holder": holders.revoke(call.engine.broker, call.group(), offset, failed, call.now_ms)}


def _is_seen(call: Call, session: Session) -> bool:
    return call.session.namespace in ("", session.namespace)


def _session(call: Call) -> Session:
    number = call.arguments.number("session", None)
    session = holders.find_session(call.engine.broker, number)
    if not _is_seen(call, session):
        raise holders.unknown_session(number)
    return session


def _place(consumer: Consumer) -> tuple[int, int]:
    return consumer.session.number, consumer.number


def _consumers(call: Call, queue: Any, group: Any) -> list[Consumer]:
    broker = call.engine.broker
    if queue is None:
        seen = (session for session in broker.sessions.values() if _is_seen(call, session))
        return [consumer for session in seen for consumer in session.consumers.values()]
    found = find_queue(broker, queue)
    groups = list(found.groups.values()) if group is None else named_groups(found, group)
    return [consumer for one in groups for consumer in one.consumers]
