"""Queues and producers: declare, describe, list, purge, delete; open and expire producers."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import Any

from penstock.core.bounds import needed_bytes, needed_messages, waiting_count
from penstock.core.broker import Broker
from penstock.core.facts import (
    Altered,
    Declared,
    Discarded,
    ProducerOpened,
    ProducersExpired,
)
from penstock.core.group import Group
from penstock.core.lifetimes import remove_queue
from penstock.core.namespacing import check_new_queue, check_together
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import (
    ALTERABLE,
    DISCARD_REASONS,
    PURGED,
    QueueSettings,
    Refused,
    changes_between,
    check_name,
    differences,
    parse_settings,
)


def find_queue(broker: Broker, name: Any) -> Queue:
    """Return the queue of that name; raises Refused (unknown-queue)."""
    queue = broker.names.get(name) if isinstance(name, str) else None
    if queue is None:
        check_name(name)
        raise Refused("unknown-queue", f"there is no queue {name!r}; declare it first")
    return queue


def declare(
    broker: Broker, name: str, settings: QueueSettings, now_ms: int, queues_max: int, *, automatic: bool = False
) -> tuple[Queue, bool]:
    """Return the queue and whether it is new. Raises Refused: settings-differ names every difference.

    ``automatic``: the broker itself needs it, whatever the limits of its namespace say.
    """
    queue = broker.names.get(check_name(name))
    if queue is not None:
        different = differences(settings.as_map(), queue.settings.as_map())
        if different:
            raise Refused("settings-differ", f"queue {name!r} exists with other settings: {different} there")
        queue.touch()
        return queue, False
    if len(broker.queues) >= queues_max:
        raise Refused("limit-reached", f"there are {queues_max} queues already (limits.queues_max)")
    if not automatic:
        check_new_queue(broker, name)
    _check_dead_letters(broker, name, settings)
    number, group_number = _new_numbers(broker, settings)
    broker.emit(not settings.ephemeral, Declared(number, group_number, name, settings, now_ms))
    return broker.names[name], True


def _new_numbers(broker: Broker, settings: QueueSettings) -> tuple[int, int]:
    """Of the queue and of its default group."""
    if settings.ephemeral:
        return broker.new_ephemeral_number(), broker.new_ephemeral_number()
    return broker.next_number, broker.next_number + 1


def _check_dead_letters(broker: Broker, name: str, settings: QueueSettings) -> None:
    if settings.dead_letter is not None:
        check_together(name, settings.dead_letter, "the dead letters", "bad-setting")
    _check_dead_letters_survive(broker, name, settings)
    _check_dead_letters_end(broker, name, settings)


def _check_dead_letters_survive(broker: Broker, name: str, settings: QueueSettings) -> None:
    """Dead letters may not go where the end of a connection loses them, nor those of a durable queue where a crash
    does (I1).
    """
    target = broker.names.get(settings.dead_letter or f"{name}.dead")
    if target is not None and target.name != name and _loses(settings, target.settings):
        how = "is ephemeral" if target.settings.ephemeral else "is kept in memory"
        raise Refused(
            "bad-setting",
            f"the dead letters of {_kind(settings)} queue {name!r} would go to {target.name!r}, which {how};"
            " name a durable dead_letter queue",
        )
    for queue in () if settings.durable else broker.queues.values():
        if queue.name != name and queue.dead_letter_name == name and _loses(queue.settings, settings):
            raise Refused(
                "bad-setting",
                f"{name!r} takes the dead letters of {_kind(queue.settings)} queue {queue.name!r} and must be durable"
                " too",
            )


def _loses(source: QueueSettings, target: QueueSettings) -> bool:
    return target.ephemeral or (source.durable and not target.durable)


def _kind(settings: QueueSettings) -> str:
    return "durable" if settings.durable else "memory"


def _check_dead_letters_end(broker: Broker, name: str, settings: QueueSettings) -> None:
    """A message may not come back to its queue by dying elsewhere: it would go round for ever."""
    way = [name]
    target = settings.dead_letter or f"{name}.dead"
    while target not in way:
        way.append(target)
        queue = broker.names.get(target)
        if queue is None or queue.dead_letter_name == target:
            return
        target = queue.dead_letter_name
    if target == name and len(way) > 1:
        raise Refused(
            "bad-setting",
            f"the dead letters of {name!r} would come back to it: {' -> '.join(map(repr, [*way, name]))};"
            " a dead_letter queue that names itself has none",
        )


def alter(broker: Broker, queue: Queue, changes: dict[str, Any], now_ms: int) -> dict[str, tuple[Any, Any]]:
    """Give a living queue other settings; return each that changed with its value before and after.

    They hold from the next hand-out, failure and publish on; what is there counts as published now where it had no
    greatest age before. Raises Refused (bad-setting).
    """
    for name in changes:
        if name not in ALTERABLE:
            raise Refused("bad-setting", f"{name!r} cannot be altered; {', '.join(sorted(ALTERABLE))} can")
    settings = parse_settings({**queue.settings.as_map(), **changes})
    if settings.dead_letter == f"{queue.name}.dead":
        settings = replace(settings, dead_letter=None)
    _check_dead_letters(broker, queue.name, settings)
    changed = changes_between(queue.settings.as_map(), settings.as_map())
    if changed:
        broker.emit(not settings.ephemeral, Altered(queue.number, settings, now_ms))
        broker.ready_groups |= dict.fromkeys(queue.groups.values())
    return changed


def describe(broker: Broker, queue: Queue) -> dict[str, Any]:
    """Everything a person wants to know of a queue. Counts are messages, over all groups that they wait for; ``bytes``
    is what its blocks take.
    """
    log = queue.log
    dead_letters = broker.names.get(queue.dead_letter_name)
    schedule = queue.schedule
    first = 0 if queue.durable else broker.boot_epoch << 40
    return {
        "queue": queue.name,
        "id": queue.number,
        **queue.settings.as_map(),
        "dead_letter": queue.dead_letter_name,
        "paused": queue.paused,
        "groups": sum(group.declared for group in queue.groups.values()),
        "start_offset": log.start_offset,
        "next_offset": log.next_offset,
        **_counts(queue.keepers()),
        "upcoming": 0 if schedule is None else schedule.message_count,
        "dead": waiting_count(dead_letters) if dead_letters else 0,
        "bytes": log.live_bytes,
        "consumers": sum(len(group.consumers) for group in queue.groups.values()),
        "published": log.next_offset - first,
        **_totals(list(queue.groups.values())),
        "unscheduled": 0 if schedule is None else schedule.cancelled_count,
        "needed_messages": needed_messages(queue),
        "needed_bytes": needed_bytes(queue),
        "breakers": [_breaker(group) for group in queue.groups.values() if group.is_tripped],
        "dropped_newest": queue.dropped_newest,
        "dedup_ids": 0 if queue.dedup is None else len(queue.dedup),
        "created_at_ms": queue.created_at_ms,
    }


def describe_group(group: Group) -> dict[str, Any]:
    """Everything a person wants to know of a group. ``next_offset`` is the first message it never handed out."""
    return {
        "queue": group.queue.name,
        "group": group.name,
        "id": group.number,
        **group.settings.as_map(),
        "declared": group.declared,
        "paused": group.paused or group.queue.paused,
        "next_offset": group.next_offset,
        "low_offset": group.low_offset,
        **_counts([group]),
        "breaker": None if group.breaker is None else group.breaker.as_map(),
        "consumers": len(group.consumers),
        **_totals([group]),
    }


def _breaker(group: Group) -> dict[str, Any]:
    return {"group": group.name, **(group.breaker.as_map() if group.breaker is not None else {})}


def _counts(groups: list[Group]) -> dict[str, int]:
    """Where the messages are that these groups are not done with."""
    unseen = sum(group.index.unseen_count for group in groups if group.index is not None)
    ready = unseen + sum(group.untouched_count + group.returned_count + group.tail_count for group in groups)
    scheduled = sum(group.delayed_count for group in groups)
    leased = sum(group.leased_count for group in groups)
    dying = sum(group.dying_count for group in groups)
    held = sum(len(group.held) for group in groups)
    messages = ready + scheduled + leased + dying + held
    return {"ready": ready, "scheduled": scheduled, "leased": leased, "held": held, "messages": messages}


def _totals(groups: list[Group]) -> dict[str, int]:
    """What these groups have done since they were declared."""
    counters = [group.counters for group in groups]
    return {
        "acked": sum(one.acked for one in counters),
        "redelivered": sum(one.redelivered for one in counters),
        "dead_lettered": sum(one.dead for one in counters),
        **{name: sum(one.discarded[reason] for one in counters) for reason, name in enumerate(DISCARD_REASONS)},
    }


def list_queues(broker: Broker, prefix: str, after: str, limit: int) -> tuple[list[Queue], bool]:
    """Return up to ``limit`` queues by name, those with ``prefix`` and after ``after``, and whether there are more."""
    names = sorted(name for name in broker.names if name.startswith(prefix))
    start = bisect_right(names, after) if after else 0
    page = names[start : start + limit]
    return [broker.names[name] for name in page], start + limit < len(names)


def purge(broker: Broker, groups: list[Group]) -> int:
    """Mark the messages of groups of one queue done, unless they are leased; return how many (SEMANTICS 15)."""
    count = 0
    for group in groups:
        queue = group.queue
        ranges = group.take_unleased()
        if ranges:
            count += sum(end - first for first, end in ranges)
            broker.emit(group.durable, Discarded(queue.number, group.number, PURGED, ranges))
    return count


def delete(broker: Broker, queue: Queue, if_empty: bool, if_unused: bool) -> int:
    """Remove the queue with everything in it; its consumers are told. Returns how many messages went."""
    count = waiting_count(queue) + (0 if queue.schedule is None else queue.schedule.message_count)
    if if_empty and count:
        raise Refused(
            "queue-not-empty", f"queue {queue.name!r} holds {count} messages; purge it or delete without if_empty"
        )
    consumer_count = sum(len(group.consumers) for group in queue.groups.values())
    if if_unused and consumer_count:
        raise Refused("queue-in-use", f"queue {queue.name!r} has {consumer_count} consumers")
    return remove_queue(broker, queue)


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
