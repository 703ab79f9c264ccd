"""Delivery: consumers, credit, and handing ready messages out, fairly, once per commit."""

from __future__ import annotations

from typing import Final

from penstock.core.breaker import Part
from penstock.core.broker import Broker, Delivery
from penstock.core.facts import Leased
from penstock.core.group import Group
from penstock.core.keyed import wants_to_look
from penstock.core.lifetimes import leave
from penstock.core.log import BlockRef
from penstock.core.priorities import Lanes
from penstock.core.queue import Queue
from penstock.core.records import PUBLISHED_HEADER_BYTES
from penstock.core.selectors import Selector
from penstock.core.session import Consumer, Session
from penstock.core.sieve import Choice
from penstock.core.values import EXCEPTIONS_MAX, Refused

_new: Final = tuple.__new__
"""Builds a NamedTuple in a third of the time that calling its class takes; for what is built per delivery."""


def consume(
    broker: Broker,
    session: Session,
    group: Group,
    number: int,
    prefetch_messages: int,
    prefetch_bytes: int,
    name: str,
    consumers_max: int,
    priority: int = 0,
    exclusive: bool = False,
    where: Selector | None = None,
) -> Consumer:
    """Add a consumer to a group; with ``where`` it is handed what that selects. Raises Refused (consumer-exists,
    limit-reached).
    """
    if number in session.consumers:
        raise Refused("consumer-exists", f"this connection has a consumer {number} already")
    if len(session.consumers) >= consumers_max:
        raise Refused("limit-reached", f"a connection may have {consumers_max} consumers")
    consumer = Consumer(
        session,
        number,
        group,
        prefetch_messages,
        prefetch_bytes,
        name or session.name,
        priority,
        exclusive,
        Choice(group, where) if where else None,
    )
    session.consumers[number] = consumer
    group.add_consumer(consumer)
    broker.ready_groups[group] = None
    return consumer


def check_exclusive(group: Group, exclusive: bool) -> None:
    """An exclusive consumer is the group's only one (AMQP 0-9-1, basic.consume). Raises Refused (exclusive-consumer).

    The broker's own consumers, redrives, do not ask.
    """
    where = f"group {group.name!r} of queue {group.queue.name!r}"
    for consumer in group.consumers:
        if consumer.exclusive:
            raise Refused("exclusive-consumer", f"{where} has the exclusive consumer {consumer.name!r}")
    if exclusive and group.consumers:
        raise Refused("exclusive-consumer", f"{where} has {len(group.consumers)} consumers already")


def check_choice(group: Group, where: Selector | None) -> None:
    """Only where no order is promised may a consumer choose (SEMANTICS 10). Raises Refused (bad-setting)."""
    if where is not None and group.settings.mode != "shared":
        raise Refused(
            "bad-setting",
            f"group {group.name!r} hands out in order, mode {group.settings.mode}: its consumers have no selectors;"
            " give the group one",
        )


def find_consumer(session: Session, number: int) -> Consumer:
    """Return a consumer of this session; raises Refused (unknown-consumer)."""
    consumer = session.consumers.get(number)
    if consumer is None:
        raise Refused("unknown-consumer", f"this connection has no consumer {number}")
    return consumer


def set_credit(broker: Broker, session: Session, number: int, prefetch_messages: int, prefetch_bytes: int) -> None:
    """Change what a consumer may hold; 0 messages stops its deliveries."""
    consumer = find_consumer(session, number)
    consumer.prefetch_messages = prefetch_messages
    consumer.prefetch_bytes = prefetch_bytes
    broker.ready_groups[consumer.group] = None


def remove_consumer(broker: Broker, consumer: Consumer) -> None:
    """Take a consumer away; its leases stay with its session (SEMANTICS 1)."""
    del consumer.session.consumers[consumer.number]
    consumer.group.remove_consumer(consumer)
    broker.ready_groups[consumer.group] = None
    leave(broker, consumer.group)


def make_visible(broker: Broker, queue: Queue, end_offset: int) -> None:
    """Everything below ``end_offset`` is durable: it may be delivered (I3)."""
    log = queue.log
    if end_offset > log.visible:
        log.visible = end_offset
        for group in queue.groups.values():
            broker.ready_groups[group] = None


def wake_delayed(broker: Broker, now_ms: int) -> None:
    """Make ready the messages whose delay is over."""
    for group in list(broker.delayed_groups):
        if group.wake(now_ms):
            broker.ready_groups[group] = None
        if group.next_due_ms() is None:
            del broker.delayed_groups[group]


def dispatch(broker: Broker, now_ms: int) -> None:
    """Hand out what is ready, in every group that changed."""
    groups, broker.ready_groups = broker.ready_groups, {}
    for group in groups:
        if group.sieves:
            broker.sifting |= dict.fromkeys(group.sieves)
        if group.consumers and not group.paused and not group.queue.paused:
            _dispatch_group(broker, group, now_ms)


def _dispatch_group(broker: Broker, group: Group, now_ms: int) -> None:
    group.unrecorded = group.next_offset
    if group.lanes is not None:
        group.lanes.look_again()
    if group.is_gated and _stays_gated(broker, group, now_ms):
        _hand_out_gated(broker, group, group.tiers(), now_ms)
    elif group.plain_consumers:
        _share_out(broker, group, group.consumers, now_ms)
    else:
        tiers = group.tiers()
        while _hand_out_in_order(broker, group, tiers, group.ready_count, now_ms):
            pass
    _record_fresh(broker, group)
    if group.index is not None and wants_to_look(group):
        broker.looking[group] = None


def _share_out(broker: Broker, group: Group, consumers: list[Consumer], now_ms: int) -> None:
    """Hand out what is ready to these consumers in equal parts, as far as they have credit."""
    while ready := group.ready_count:
        waiting = [consumer for consumer in consumers if consumer.wants()]
        if not waiting:
            break
        group.turn += 1
        pivot = group.turn % len(waiting)
        share = -(-ready // len(waiting))
        handed_out = 0
        for consumer in waiting[pivot:] + waiting[:pivot]:
            handed_out += _hand_out(broker, group, consumer, share, now_ms)
        if not handed_out:
            break


def _hand_out_in_order(broker: Broker, group: Group, tiers: list[list[Consumer]], limit: int, now_ms: int) -> int:
    """Give part of one block to one consumer, of the first tier that takes any; return how many messages."""
    return next(filter(None, (_hand_out_in_turn(broker, group, tier, limit, now_ms) for tier in tiers)), 0)


def _hand_out_in_turn(broker: Broker, group: Group, consumers: list[Consumer], limit: int, now_ms: int) -> int:
    """Give part of one block to one of these consumers; what comes next may suit one of higher priority again."""
    waiting = [consumer for consumer in consumers if consumer.wants()]
    share = -(-limit // len(waiting)) if waiting else 0
    if not share:
        return 0
    group.turn += 1
    pivot = group.turn % len(waiting)
    candidates = waiting[pivot:] + waiting[:pivot]
    return next(filter(None, (_hand_out_part(broker, group, one, share, now_ms) for one in candidates)), 0)


def _stays_gated(broker: Broker, group: Group, now_ms: int) -> bool:
    """False when its breaker closes now and it has no rate."""
    if group.recovers(now_ms):
        broker.tripped_groups.pop(group, None)
    return group.is_gated


def _hand_out_gated(broker: Broker, group: Group, tiers: list[list[Consumer]], now_ms: int) -> None:
    """Hand out as many as its breaker and its rate allow; look again when more may be (SEMANTICS 19)."""
    bucket, breaker = group.bucket, group.breaker
    while limit := group.allowed(now_ms):
        handed_out = _hand_out_in_order(broker, group, tiers, limit, now_ms)
        if not handed_out:
            return  # no consumer has credit: the next settle brings this group back
        if bucket is not None:
            bucket.take(handed_out)
        if breaker is not None and group.is_tripped:
            breaker.handed_out(_part_of(broker, broker.deliveries[-1]))
    if breaker is not None and group.is_tripped and not breaker.allowed():
        if breaker.retry_ms > now_ms:  # else a trial run is out, whose end brings this group back
            _look_again(broker, group, breaker.retry_ms)
    elif bucket is not None and group.ready_count and any(consumer.wants() for tier in tiers for consumer in tier):
        _look_again(broker, group, bucket.next_ms())


def _part_of(broker: Broker, delivery: Delivery) -> Part:
    end_tag = delivery.first_tag + delivery.end - delivery.first
    return Part(broker.sessions[delivery.session], delivery.first_tag, end_tag, delivery.first, delivery.end)


def _look_again(broker: Broker, group: Group, due_ms: int) -> None:
    group.gate_due_ms = due_ms
    broker.delayed_groups[group] = None


def _record_fresh(broker: Broker, group: Group) -> None:
    """One fact for what a dispatch handed out for the first time, up to the cursor."""
    if group.next_offset > group.unrecorded:
        if group.durable:
            broker.recorder.record(Leased(group.queue.number, group.number, group.unrecorded, group.next_offset))
        group.unrecorded = group.next_offset


def _hand_out(broker: Broker, group: Group, consumer: Consumer, limit: int, now_ms: int) -> int:
    """Give the consumer up to ``limit`` messages: those ready again first, each block apart. Returns how many."""
    handed_out = 0
    while handed_out < limit:
        count = _hand_out_part(broker, group, consumer, limit - handed_out, now_ms)
        if not count:
            break
        handed_out += count
    return handed_out


def _hand_out_part(broker: Broker, group: Group, consumer: Consumer, limit: int, now_ms: int) -> int:
    """Give the consumer up to ``limit`` messages of one block; those ready again come first."""
    if consumer.choice is not None:
        return _hand_out_chosen(broker, group, consumer, consumer.choice, limit, now_ms)
    if group.lanes is not None:
        return _hand_out_by_priority(broker, group, group.lanes, consumer, limit, now_ms)
    if group.returned_count:
        if group.is_gated and group.tries_in_turn:
            return _hand_out_trial(broker, group, consumer, limit, now_ms)
        if (returned := group.first_returned()) is not None:
            return _hand_out_returned(broker, group, consumer, returned, limit, now_ms)
    return _hand_out_fresh(broker, group, consumer, limit, now_ms)


def _hand_out_trial(broker: Broker, group: Group, consumer: Consumer, limit: int, now_ms: int) -> int:
    """Go on through what waits: behind what was tried last, then the untouched, then from the front again."""
    breaker = group.breaker
    returned = group.returned_after(breaker.tried_until) if breaker is not None else None
    if returned is not None:
        return _hand_out_returned(broker, group, consumer, returned, limit, now_ms)
    count = _hand_out_fresh(broker, group, consumer, limit, now_ms)
    if not count and (returned := group.first_returned()) is not None:
        count = _hand_out_returned(broker, group, consumer, returned, limit, now_ms)
    return count


def _hand_out_fresh(broker: Broker, group: Group, consumer: Consumer, limit: int, now_ms: int) -> int:
    if group.index is not None:
        return _hand_out_keyed(broker, group, consumer, limit, now_ms)
    queue, first = group.queue, group.next_offset
    log = queue.log
    if first >= log.visible or _is_crowded(group):
        return 0
    block = log.block_at(first)
    end = min(block.end, log.visible, first + min(limit, consumer.room_for(unit_bytes(block))))
    if group.passed.count or group.tail_count or group.sieve is not None:
        end = group.clear_until(end)
    if queue.terms is not None:
        end = queue.terms.live_until(first, end, now_ms)
    if end <= first:
        return 0
    _hand_out_at_cursor(broker, group, end)
    _lease(broker, group, consumer, block, first, end, 1, 0, now_ms)
    if group.tail_count:
        group.reach_tail()
    return end - first


def _hand_out_at_cursor(broker: Broker, group: Group, end: int) -> None:
    group.outstanding.append_fresh(group.next_offset, end)
    group.next_offset = end  # the fact follows, one for the whole dispatch
    if group.passed.count:
        _pass_over(broker, group)


def _hand_out_keyed(broker: Broker, group: Group, consumer: Consumer, limit: int, now_ms: int) -> int:
    index = group.index
    if index is None or not index.ready or not group.may_grow:
        return 0
    first, last = index.ready[0]
    queue = group.queue
    block = queue.log.block_at(first)
    end = min(last, block.end, first + min(limit, consumer.room_for(unit_bytes(block))))
    if queue.terms is not None:
        end = queue.terms.live_until(first, end, now_ms)
    if end <= first:
        return 0
    index.take_ready(end)
    if first == group.next_offset:
        _hand_out_at_cursor(broker, group, end)
    else:
        broker.emit(group.durable, Leased(queue.number, group.number, first, end))
    _lease(broker, group, consumer, block, first, end, 1, 0, now_ms)
    return end - first


def _hand_out_by_priority(
    broker: Broker, group: Group, lanes: Lanes, consumer: Consumer, limit: int, now_ms: int
) -> int:
    """Give the consumer messages of the highest priority that has any."""
    ahead = lanes.next(group)
    if ahead is None:
        return 0
    if ahead.is_returned:
        return _hand_out_returned(broker, group, consumer, (ahead.first, ahead.end), limit, now_ms)
    queue, first = group.queue, ahead.first
    if _is_crowded(group):
        return 0
    block = queue.log.block_at(first)
    end = min(ahead.end, block.end, first + min(limit, consumer.room_for(unit_bytes(block))))
    if queue.terms is not None:
        end = queue.terms.live_until(first, end, now_ms)
    if end <= first:
        return 0
    lanes.take_fresh(ahead.priority, end)
    if first == group.next_offset:
        _hand_out_at_cursor(broker, group, end)
    else:
        broker.emit(group.durable, Leased(queue.number, group.number, first, end))
    _lease(broker, group, consumer, block, first, end, 1, 0, now_ms)
    return end - first


def _hand_out_chosen(broker: Broker, group: Group, consumer: Consumer, choice: Choice, limit: int, now_ms: int) -> int:
    """Give the consumer what its selector selects, ahead of the cursor where it has to be."""
    chosen = choice.next()
    if chosen is None:
        return 0
    if chosen.is_returned:
        return _hand_out_returned(broker, group, consumer, (chosen.first, chosen.end), limit, now_ms)
    queue, first = group.queue, chosen.first
    if _is_crowded(group) or (first > group.next_offset and len(group.passed) > EXCEPTIONS_MAX):
        return 0
    block = queue.log.block_at(first)
    end = min(chosen.end, block.end, first + min(limit, consumer.room_for(unit_bytes(block))))
    if queue.terms is not None:
        end = queue.terms.live_until(first, end, now_ms)
    if end <= first:
        return 0
    _record_fresh(broker, group)
    broker.emit(group.durable, Leased(queue.number, group.number, first, end))
    group.unrecorded = group.next_offset
    _lease(broker, group, consumer, block, first, end, 1, 0, now_ms)
    return end - first


def _is_crowded(group: Group) -> bool:
    """Too many messages differ from "untouched" (SEMANTICS 31)."""
    return len(group.outstanding.runs) > EXCEPTIONS_MAX or len(group.history) > EXCEPTIONS_MAX


def _pass_over(broker: Broker, group: Group) -> None:
    """Move the cursor on over what was passed; that is no part of what was handed out."""
    _record_fresh(broker, group)
    group.advance(group.next_offset)
    group.unrecorded = group.next_offset


def _hand_out_returned(
    broker: Broker, group: Group, consumer: Consumer, returned: tuple[int, int], limit: int, now_ms: int
) -> int:
    first, end = returned
    queue = group.queue
    block = queue.log.block_at(first)
    run = group.outstanding.find(first)
    assert run is not None, "what is ready again is outstanding (I12)"
    attempts, failures = run.attempts + 1, run.failures
    end = min(end, run.end, block.end, first + min(limit, consumer.room_for(unit_bytes(block))))
    if queue.terms is not None:
        end = queue.terms.live_until(first, end, now_ms)
    if end <= first:
        return 0
    group.take_returned(first, end)
    broker.emit(group.durable, Leased(queue.number, group.number, first, end))
    _lease(broker, group, consumer, block, first, end, attempts, failures, now_ms)
    return end - first


def _lease(
    broker: Broker,
    group: Group,
    consumer: Consumer,
    block: BlockRef,
    first: int,
    end: int,
    attempts: int,
    failures: int,
    now_ms: int,
) -> None:
    session, queue = consumer.session, group.queue
    lease_ms = queue.settings.lease_ms
    tag = session.lease(consumer, first, end - first, attempts, failures, unit_bytes(block), now_ms, lease_ms)
    part = (session.number, consumer.number, attempts, failures, tag, lease_ms, queue, first, end, block)
    broker.deliveries.append(_new(Delivery, part))


def unit_bytes(block: BlockRef) -> int:
    """One message's size for byte credit: its block's size over its count (a block of several is at most 256 KiB)."""
    return max(1, (block.size_bytes - PUBLISHED_HEADER_BYTES) // (block.end - block.first))
