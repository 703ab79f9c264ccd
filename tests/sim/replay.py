"""From facts to a shadow, message by message: what recovery has to arrive at (I1, I4, I5, I14, I18)."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

from tests.sim.hearing import note_definition
from tests.sim.scheduled import due, scheduled, unscheduled
from tests.sim.shadow import Shadow
from tests.sim.state import Message, NotedId, Place, ShadowGroup, Stream
from tests.sim.violation import Violation

from penstock.core.dedup import NO_ID, split_digests
from penstock.core.facts import (
    Acked,
    Dead,
    Discarded,
    Due,
    Expired,
    Fact,
    Failed,
    Fired,
    Held,
    Leased,
    Noted,
    Overflowed,
    Published,
    PublishedTo,
    Repeated,
    Resumed,
    Scheduled,
    Unscheduled,
)
from penstock.core.values import DROPPED, TRANSFERRED


class Known(NamedTuple):
    """A recorded fact, where it is in the journal, and which messages its block holds."""

    position: int
    fact: Fact
    uids: tuple[int, ...]
    transaction: int = 0
    """Which transaction it is part of, 0 for none."""


def replayed(facts: Iterable[Known], boot_epoch: int) -> Shadow:
    """Return the shadow of a broker that has just started on these facts."""
    shadow = Shadow(boot_epoch)
    for known in facts:
        _apply(shadow, known)
    for queue in shadow.queues.values():
        queue.visible = queue.next_offset
        for group in queue.groups.values():
            for message in group.messages.values():
                if message.place not in (Place.DYING, Place.HELD) and message.due_ms:
                    group.put(message, Place.DELAYED)
    return shadow


def check_one_place(shadow: Shadow, resent: Container[int]) -> None:
    """Per group, a message is open, or dead, or a dead letter's copy, never two of these (I14)."""
    places: dict[tuple[int, ...], str] = {}
    for queue in shadow.queues.values():
        for group in queue.keepers() if queue.settings.durable else ():
            for message in group.messages.values():
                if message.place is Place.HELD:
                    continue  # its marker stands for it
                stored = message.stored
                key = (stored.uid, *stored.path, group.number)
                place = f"{group.label} {message.offset}"
                waits = any(one.uid == stored.uid for one in queue.scheduled.values())
                if (key in places or waits) and stored.uid not in resent:
                    first = places.get(key, "the schedule")
                    raise Violation("I14", f"message {stored.uid} is in two places: {first} and {place}")
                places[key] = place
    for key, place in places.items():
        for size in range(2, len(key)):
            if key[:size] in places and key[0] not in resent:
                raise Violation("I14", f"message {key[0]} is at {places[key[:size]]} and dead at {place}")


def _apply(shadow: Shadow, known: Known) -> None:
    fact = known.fact
    match fact:
        case Published():
            if fact.queue in shadow.queues and shadow.queues[fact.queue].settings.durable:
                shadow.stored(fact, known.position, known.uids)
                internal = not (fact.producer or known.transaction)
                shadow.copied = shadow.queues[fact.queue].stored[fact.first] if internal else None
        case Leased():
            group = _group(shadow, fact)
            for offset in range(fact.first, fact.end):
                message = _open(group, offset, fact)
                message.attempts += 1
                message.due_ms = 0
                group.take(offset)
        case Acked():
            group = _group(shadow, fact)
            for first, end in fact.ranges:
                for offset in range(first, end):
                    message = _open(group, offset, fact)
                    if shadow.copied is not None:  # a redrive: it goes back to the group in which it died
                        shadow.copied.path, shadow.copied = message.stored.path[:-1], None
                    shadow.acknowledged(group, offset)
        case Discarded() | Expired():
            _apply_ending(shadow, _group(shadow, fact), fact)
        case Failed() | Dead() | Held() | Resumed():
            _apply_failure(shadow, _group(shadow, fact), fact)
        case _:
            _apply_other(shadow, known)


def _transferred(shadow: Shadow, original: Message) -> None:
    """A copy takes the original's place; a dead letter's that is in the group in which it died lives again."""
    copied, shadow.copied = shadow.copied, None
    if copied is not None:
        groups = [group for queue in shadow.queues.values() for group in queue.groups.values()]
        there = [g.number for g in groups if any(one.stored is copied for one in g.messages.values())]
        path = original.stored.path
        copied.path = path[:-1] if path and there == [path[-1]] else path


def _apply_other(shadow: Shadow, known: Known) -> None:
    fact = known.fact
    if isinstance(fact, PublishedTo):
        shadow.stored_in_all(fact, known.position, known.uids)
    elif isinstance(fact, (Noted, Repeated, Overflowed)):
        _apply_intake(shadow, fact)
    elif isinstance(fact, (Scheduled, Due, Unscheduled)):
        _apply_scheduled(shadow, fact, known)
    else:
        if isinstance(fact, Fired):
            shadow.copied = None
        note_definition(shadow, fact)


def _apply_ending(shadow: Shadow, group: ShadowGroup, fact: Discarded | Expired) -> None:
    offsets = [offset for first, end in fact.ranges for offset in range(first, end)]
    messages = [_open(group, offset, fact) for offset in offsets]
    if isinstance(fact, Expired):
        group.condemn(offsets)
        return
    if fact.reason == TRANSFERRED:
        _transferred(shadow, messages[0])
    elif fact.reason == DROPPED and shadow.copied is not None:  # it was dropped into the dead letters
        shadow.copied.path, shadow.copied = (*messages[0].stored.path, group.number), None
    group.discard(offsets, fact.reason)


def _apply_intake(shadow: Shadow, fact: Noted | Repeated | Overflowed) -> None:
    queue = shadow.queues[fact.queue]
    if isinstance(fact, Noted):
        for offset, digest in enumerate(split_digests(fact.digests), fact.first):
            if digest != NO_ID:
                queue.ids.append(NotedId(digest, offset, fact.time_ms))
        return
    shadow.producers[fact.producer] = fact.time_ms
    stream = queue.streams.setdefault(fact.producer, Stream())
    stream.last = fact.first_sequence + fact.message_count - 1
    if isinstance(fact, Overflowed):
        shadow.copied = None
        queue.dropped_newest += fact.message_count
        return
    for index in range(fact.message_count):
        stream.offsets[fact.first_sequence + index] = fact.offset + index


def _apply_failure(shadow: Shadow, group: ShadowGroup, fact: Failed | Dead | Held | Resumed) -> None:
    if isinstance(fact, Failed):
        for offset in range(fact.first, fact.end):
            _fail(group, _open(group, offset, fact), fact)
    elif isinstance(fact, Resumed):
        group.resume(_open(group, fact.offset, fact))
        shadow.copied = None
    else:
        message = _open(group, fact.offset, fact)
        if shadow.copied is not None:
            shadow.copied.path, shadow.copied = (*message.stored.path, group.number), None
        if isinstance(fact, Held):
            group.put(message, Place.HELD)
            return
        group.finish(fact.offset)
        group.dead += 1


def _apply_scheduled(shadow: Shadow, fact: Scheduled | Due | Unscheduled, known: Known) -> None:
    queue = shadow.queues[fact.queue]
    if isinstance(fact, Due):
        due(queue, fact, known.position, None)
    elif isinstance(fact, Unscheduled):
        unscheduled(queue, fact)
    else:
        scheduled(queue, fact, known.position, known.uids)
        if fact.producer:
            shadow.producers[fact.producer] = fact.time_ms


def _group(shadow: Shadow, fact: Leased | Acked | Discarded | Expired | Failed | Dead | Held | Resumed) -> ShadowGroup:
    return shadow.queues[fact.queue].groups[fact.group]


def _open(group: ShadowGroup, offset: int, fact: Fact) -> Message:
    message = group.messages.get(offset)
    if message is None:
        raise Violation("I18", f"{fact} is about {group.label} {offset}, which is done")
    return message


def _fail(group: ShadowGroup, message: Message, fact: Failed) -> None:
    message.failures += 1
    message.due_ms = fact.due_ms
    message.history.append((*fact.failure,))
    if fact.dying:
        group.put(message, Place.DYING)
