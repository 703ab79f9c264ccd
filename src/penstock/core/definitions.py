"""Queues and producers: declare, describe, list, purge, delete; open and expire producers."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from penstock.core.broker import Broker, Cancelled
from penstock.core.facts import Declared, Deleted, ProducerOpened, ProducersExpired, Purged
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import QueueSettings, Refusal, Refused, check_name


def find_queue(broker: Broker, name: Any) -> Queue:
    """Return the queue of that name; raises Refused (unknown-queue)."""
    queue = broker.names.get(name) if isinstance(name, str) else None
    if queue is None:
        check_name(name)
        raise Refused("unknown-queue", f"there is no queue {name!r}; declare it first")
    return queue


def declare(broker: Broker, name: str, settings: QueueSettings, now_ms: int, queues_max: int) -> tuple[Queue, bool]:
    """Return the queue and whether it is new. Raises Refused: settings-differ names every difference."""
    queue = broker.names.get(check_name(name))
    if queue is not None:
        differences = settings.differences(queue.settings)
        if differences:
            raise Refused("settings-differ", f"queue {name!r} exists with other settings: {differences} there")
        return queue, False
    if len(broker.queues) >= queues_max:
        raise Refused("limit-reached", f"there are {queues_max} queues already (limits.queues_max)")
    _check_dead_letters_survive(broker, name, settings)
    number = broker.next_number
    fact = Declared(number, number + 1, name, settings, now_ms)
    broker.recorder.record(fact)
    broker.apply(fact)
    return broker.queues[number], True


def _check_dead_letters_survive(broker: Broker, name: str, settings: QueueSettings) -> None:
    """A durable queue's dead letters may not go where a crash loses them (I1)."""
    if settings.durable:
        target = broker.names.get(settings.dead_letter or f"{name}.dead")
        if target is not None and not target.settings.durable:
            raise Refused(
                "bad-setting",
                f"the dead letters of durable queue {name!r} would go to {target.name!r}, which is kept in memory;"
                " name a durable dead_letter queue",
            )
        return
    for queue in broker.queues.values():
        if queue.settings.durable and queue.dead_letter_name == name:
            raise Refused(
                "bad-setting",
                f"{name!r} takes the dead letters of durable queue {queue.name!r} and must be durable too",
            )


def describe(broker: Broker, queue: Queue) -> dict[str, Any]:
    """Everything a person wants to know of a queue. Counts are messages, ``bytes`` what its blocks take."""
    group, log = queue.group, queue.log
    dead_letters = broker.names.get(queue.dead_letter_name)
    acked, dead, purged, redelivered = group.counters.values()
    leased = group.leased_count
    ready = log.next_offset - group.next_offset + group.returned_count
    first = 0 if queue.settings.durable else broker.boot_epoch << 40
    return {
        "queue": queue.name,
        "id": queue.number,
        **queue.settings.as_map(),
        "dead_letter": queue.dead_letter_name,
        "start_offset": log.start_offset,
        "next_offset": log.next_offset,
        "ready": ready,
        "scheduled": group.delayed_count,
        "leased": leased,
        "messages": ready + group.delayed_count + leased + group.dying_count,
        "dead": waiting_count(dead_letters) if dead_letters else 0,
        "bytes": log.live_bytes,
        "consumers": sum(len(group.consumers) for group in queue.groups.values()),
        "published": log.next_offset - first,
        "acked": acked,
        "redelivered": redelivered,
        "dead_lettered": dead,
        "purged": purged,
        "dedup_ids": 0 if queue.dedup is None else len(queue.dedup),
        "created_at_ms": queue.created_at_ms,
    }


def waiting_count(queue: Queue) -> int:
    """Messages the default group is not done with."""
    group = queue.group
    return queue.log.next_offset - group.next_offset + group.outstanding.message_count()


def list_queues(broker: Broker, prefix: str, after: str, limit: int) -> tuple[list[Queue], bool]:
    """Return up to ``limit`` queues by name, those with ``prefix`` and after ``after``, and whether there are more."""
    names = sorted(name for name in broker.names if name.startswith(prefix))
    start = bisect_right(names, after) if after else 0
    page = names[start : start + limit]
    return [broker.names[name] for name in page], start + limit < len(names)


def purge(broker: Broker, queue: Queue) -> int:
    """Mark the queue's messages done unless they are leased; return how many (SEMANTICS 15)."""
    group = queue.group
    ranges = group.take_unleased()
    count = sum(end - first for first, end in ranges)
    if ranges:
        broker.emit(queue, Purged(queue.number, group.number, ranges))
        queue.log.visible = queue.log.next_offset
    return count


def delete(broker: Broker, queue: Queue, if_empty: bool, if_unused: bool) -> int:
    """Remove the queue with everything in it; its consumers are told. Returns how many messages went."""
    group = queue.group
    count = queue.log.next_offset - group.next_offset + group.outstanding.message_count()
    if if_empty and count:
        raise Refused(
            "queue-not-empty", f"queue {queue.name!r} holds {count} messages; purge it or delete without if_empty"
        )
    if if_unused and group.consumers:
        raise Refused("queue-in-use", f"queue {queue.name!r} has {len(group.consumers)} consumers")
    refusal = Refusal("queue-deleted", f"queue {queue.name!r} was deleted")
    for consumer in list(group.consumers):
        session = consumer.session
        del session.consumers[consumer.number]
        for lease in [lease for lease in session.leases if lease.consumer is consumer]:
            session.take(lease.first_tag, lease.first_tag + lease.count)
        broker.cancelled.append(Cancelled(session.number, consumer.number, refusal))
    _drop_remaining_leases(broker, queue)
    group.consumers.clear()
    fact = Deleted(queue.number)
    broker.recorder.record(fact)
    broker.apply(fact)
    for waiting in (broker.ready_groups, broker.delayed_groups):
        waiting.pop(group, None)
    broker.published_queues.pop(queue, None)
    broker.dying = [dying for dying in broker.dying if dying.group is not group]
    return count


def _drop_remaining_leases(broker: Broker, queue: Queue) -> None:
    """Leases of cancelled consumers outlive them; a deleted queue ends those too."""
    for session in broker.sessions.values():
        for lease in [lease for lease in session.leases if lease.consumer.group.queue is queue]:
            session.take(lease.first_tag, lease.first_tag + lease.count)


def open_producer(broker: Broker, session: Session, producer: int | None, now_ms: int) -> int:
    """Bind the session to a producer id: a new one for None, else one that was given out before.

    Raises Refused (producer-expired) when the id is not known: its sequences are forgotten, so a re-send could not be
    recognised (SEMANTICS 7).
    """
    if session.producer:
        raise Refused("limit-reached", "this connection has a producer already; there is one per connection")
    if producer is None:
        producer = broker.next_producer
    elif producer not in broker.producers:
        raise Refused("producer-expired", f"producer {producer} is not known here any more: open a new one")
    fact = ProducerOpened(producer, now_ms)
    broker.recorder.record(fact)
    broker.apply(fact)
    session.producer = producer
    return producer


def expire_producers(broker: Broker, idle_before_ms: int) -> None:
    """Forget the producers that published nothing since then and are not connected."""
    connected = {session.producer for session in broker.sessions.values()}
    idle = tuple(p for p, last_ms in broker.producers.items() if last_ms < idle_before_ms and p not in connected)
    if idle:
        fact = ProducersExpired(idle)
        broker.recorder.record(fact)
        broker.apply(fact)
