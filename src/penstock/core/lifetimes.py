"""Queues that end by themselves: those that nobody uses any more, and ephemeral ones with their last consumer.

A queue that expires is *used* while it has consumers, and whenever it is declared (again) or anything is put into it;
also while messages of it are leased, on their way to the dead letters or scheduled, and while another queue's dead
letters or a recurring schedule's messages go to it. Reading without taking is no use. Publishing pays nothing for this:
the queue is looked at LOOKS_PER_LIFE times in the time that it may be unused, and what is different from the last look
tells of use in between. So it ends no earlier than it may, and at most one such step later. What was before a restart
is not known, and the time begins anew.

RabbitMQ, whose ``x-expires`` this is, does not count publishing as use: there a queue ends under a producer that still
fills it. AMQP 0-9-1's auto-delete is ``ephemeral``, but for a queue that never had a consumer: that one ends with the
connection that declared it, as a JMS TemporaryQueue does.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final, NamedTuple

from penstock.core.bounds import waiting_count
from penstock.core.broker import DROP_BLOCKS_MAX, Broker
from penstock.core.facts import Deleted
from penstock.core.group import Group
from penstock.core.groups import end_deliveries, end_if_ephemeral
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.usage import Usage
from penstock.core.values import Refusal

LOOKS_PER_LIFE: Final = 8
LOOKS_PER_TURN: Final = 200
"""About 1 ms of work, and 10 where all of them end."""


class Expired(NamedTuple):
    """A queue that ended because nobody used it, and how many messages went with it."""

    queue: str
    unused_ms: int
    message_count: int


def remove_queue(broker: Broker, queue: Queue) -> int:
    """Remove a queue with everything in it; its consumers are told. Returns how many messages went."""
    count = waiting_count(queue) + (0 if queue.schedule is None else queue.schedule.message_count)
    refusal = Refusal("queue-deleted", f"queue {queue.name!r} was deleted")
    for group in queue.groups.values():
        end_deliveries(broker, group, refusal)
    broker.emit(not queue.settings.ephemeral, Deleted(queue.number))
    broker.published_queues.pop(queue, None)
    return count


# -- unused ------------------------------------------------------------------------------------------------------------


def end_unused(broker: Broker, now_ms: int) -> list[Expired]:
    """End the queues that were unused for as long as they may be; as many as fit a turn."""
    expired: list[Expired] = []
    needed: set[str] | None = None
    deadlines = broker.use_deadlines
    for _ in range(LOOKS_PER_TURN):
        if not deadlines or deadlines[0][0] > now_ms or len(broker.dropped) >= DROP_BLOCKS_MAX:
            break
        due_ms, number = heappop(deadlines)
        queue = broker.queues.get(number)
        usage = queue.usage if queue is not None else None
        if queue is None or usage is None or usage.due_ms != due_ms:
            continue
        if not _has_expired(queue, usage, now_ms):
            _look_again(broker, queue, usage, now_ms)
            continue
        needed = _needed_names(broker) if needed is None else needed
        if queue.name in needed:
            usage.since_ms = now_ms
            _look_again(broker, queue, usage, now_ms)
        else:
            expired.append(Expired(queue.name, now_ms - usage.since_ms, remove_queue(broker, queue)))
    return expired


def _has_expired(queue: Queue, usage: Usage, now_ms: int) -> bool:
    waits = queue.schedule is not None and queue.schedule.message_count
    next_id = queue.schedule.next_id if queue.schedule is not None else 0
    seen = (usage.touches, queue.log.next_offset, next_id)
    held = any(group.consumers or group.leased_count or group.dying_count for group in queue.groups.values())
    if held or waits or seen != usage.seen:
        usage.seen, usage.since_ms = seen, now_ms
    return now_ms - usage.since_ms >= queue.settings.expires_ms


def _look_again(broker: Broker, queue: Queue, usage: Usage, now_ms: int) -> None:
    expires_ms = queue.settings.expires_ms
    usage.due_ms = min(now_ms + expires_ms // LOOKS_PER_LIFE, usage.since_ms + expires_ms)
    heappush(broker.use_deadlines, (usage.due_ms, queue.number))


def _needed_names(broker: Broker) -> set[str]:
    """Queues that others need: for their dead letters, or for what they publish by the clock."""
    names = {queue.dead_letter_name for queue in broker.queues.values() if queue.dead_letter_name != queue.name}
    return names | {one.queue for one in broker.recurrings.by_name.values() if not one.paused}


# -- ephemeral ---------------------------------------------------------------------------------------------------------


def remember_queue(session: Session, queue: Queue) -> None:
    """The queue ends with the session that declared it, unless someone consumes from it."""
    session.ephemeral_queues = [one for one in session.ephemeral_queues if not one.deleted]
    session.ephemeral_queues.append(queue)


def leave(broker: Broker, group: Group) -> None:
    """A consumer of the group is gone: what lived by it ends."""
    end_if_ephemeral(broker, group)
    end_if_left(broker, group.queue)


def end_if_left(broker: Broker, queue: Queue) -> None:
    """An ephemeral queue ends with its last consumer; any other was used until now."""
    queue.touch()
    if queue.settings.ephemeral and not queue.deleted and not any(one.consumers for one in queue.groups.values()):
        remove_queue(broker, queue)


def end_with_session(broker: Broker, session: Session, groups: Iterable[Group]) -> None:
    """A session is gone, with its consumers of these groups: what lived by it ends."""
    for group in (*groups, *session.ephemeral_groups):
        leave(broker, group)
    for queue in session.ephemeral_queues:
        end_if_left(broker, queue)
