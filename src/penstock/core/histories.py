"""What became of one message so far: looked up when somebody asks, never kept for it."""

from __future__ import annotations

from typing import NamedTuple

from penstock.core.broker import Broker
from penstock.core.finding import DYING, EXPIRED, HELD, LEASED, READY, SCHEDULED
from penstock.core.group import Group
from penstock.core.session import Lease
from penstock.core.values import DYING_EXPIRED, Failure, Refused


class MessageHistory(NamedTuple):
    """A message in a group: its state, and every failure that is kept, the oldest first.

    ``until_ms`` is when its lease or its delay ends, 0 for what has neither; ``consumer`` and ``leased_at_ms`` are of
    the lease.
    """

    state: str
    attempts: int
    failures: int
    history: tuple[Failure, ...]
    consumer: str = ""
    leased_at_ms: int = 0
    until_ms: int = 0


def history_of(broker: Broker, group: Group, offset: int, now_ms: int) -> MessageHistory:
    """Tell what became of a message. Raises Refused (unknown-message) when the group is done with it."""
    queue = group.queue
    if queue.deleted or group.deleted or offset >= queue.log.visible or not group.is_open(offset):
        raise Refused(
            "unknown-message",
            f"queue {queue.name!r} has no message {offset} that group {group.name!r} is not done with; what it has is"
            f" from {group.low_offset} on and before {queue.log.visible}",
        )
    run = group.outstanding.find(offset)
    over = queue.terms is not None and queue.terms.live_until(offset, offset + 1, now_ms) == offset
    if run is None:
        return MessageHistory(EXPIRED if over else READY, 0, 0, ())
    counts = (run.attempts, run.failures, tuple(group.history.get(offset, ())))
    if run.dying == DYING_EXPIRED:
        return MessageHistory(EXPIRED, *counts)
    if run.dying:
        return MessageHistory(HELD if offset in group.held else DYING, *counts)
    lease = _lease_of(broker, group, offset)
    if lease is not None:
        return MessageHistory(LEASED, *counts, lease.consumer.name, lease.leased_at_ms, lease.deadline_ms)
    if over:
        return MessageHistory(EXPIRED, *counts)
    if run.due_ms > now_ms:
        return MessageHistory(SCHEDULED, *counts, until_ms=run.due_ms)
    return MessageHistory(READY, *counts)


def _lease_of(broker: Broker, group: Group, offset: int) -> Lease | None:
    """Look through all leases: somebody waits for this one answer, and nothing else pays for it."""
    for session in broker.sessions.values():
        for lease in session.leases:
            if lease.consumer.group is group and lease.first <= offset < lease.first + lease.count:
                return lease
    return None
