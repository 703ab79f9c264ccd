"""From facts to a shadow, message by message: what recovery has to arrive at (I1, I4, I5, I14, I18)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tests.sim.shadow import Shadow
from tests.sim.state import Message, NotedId, Place, ShadowQueue, Stream
from tests.sim.violation import Violation

from penstock.core.dedup import NO_ID, split_digests
from penstock.core.facts import (
    Acked,
    Dead,
    Declared,
    Deleted,
    Fact,
    Failed,
    Leased,
    Noted,
    ProducerOpened,
    ProducersExpired,
    Published,
    Purged,
    Repeated,
)


class Known(NamedTuple):
    """A recorded fact, where it is in the journal, and which messages its block holds."""

    position: int
    fact: Fact
    uids: tuple[int, ...]


def replayed(facts: Iterable[Known], boot_epoch: int) -> Shadow:
    """Return the shadow of a broker that has just started on these facts."""
    shadow = Shadow(boot_epoch)
    for known in facts:
        _apply(shadow, known)
    for queue in shadow.queues.values():
        queue.visible = queue.next_offset
        for message in queue.messages.values():
            if message.place is not Place.DYING and message.due_ms:
                queue.put(message, Place.DELAYED)
    return shadow


def open_places(shadow: Shadow) -> dict[int, list[str]]:
    """Return in which durable queues each message is open."""
    places: dict[int, list[str]] = {}
    for queue in shadow.queues.values():
        if queue.settings.durable:
            for message in queue.messages.values():
                places.setdefault(message.uid, []).append(f"{queue.name} {message.offset}")
    return places


def _apply(shadow: Shadow, known: Known) -> None:
    fact = known.fact
    match fact:
        case Published():
            if fact.queue in shadow.queues and shadow.queues[fact.queue].settings.durable:
                shadow.stored(fact, known.position, known.uids)
        case Leased():
            queue = shadow.queues[fact.queue]
            for offset in range(fact.first, fact.end):
                _lease(queue, _open(queue, offset, fact))
        case Acked() | Purged():
            queue = shadow.queues[fact.queue]
            for first, end in fact.ranges:
                for offset in range(first, end):
                    _open(queue, offset, fact)
                    queue.finish(offset)
                if isinstance(fact, Purged):
                    queue.purged += end - first
                    queue.cursor = max(queue.cursor, end)
                else:
                    queue.acked += end - first
        case Failed():
            queue = shadow.queues[fact.queue]
            for offset in range(fact.first, fact.end):
                _fail(queue, _open(queue, offset, fact), fact)
        case Dead():
            queue = shadow.queues[fact.queue]
            _open(queue, fact.offset, fact)
            queue.finish(fact.offset)
            queue.dead += 1
        case _:
            _apply_definition(shadow, fact)


def _apply_message_ids(shadow: Shadow, fact: Noted | Repeated) -> None:
    queue = shadow.queues[fact.queue]
    if isinstance(fact, Noted):
        for offset, digest in enumerate(split_digests(fact.digests), fact.first):
            if digest != NO_ID:
                queue.ids.append(NotedId(digest, offset, fact.time_ms))
        return
    shadow.producers[fact.producer] = fact.time_ms
    stream = queue.streams.setdefault(fact.producer, Stream())
    stream.last = fact.first_sequence + fact.message_count - 1
    for index in range(fact.message_count):
        stream.offsets[fact.first_sequence + index] = fact.offset + index


def _apply_definition(shadow: Shadow, fact: Fact) -> None:
    match fact:
        case Declared():
            shadow.declared(fact)
        case Deleted():
            shadow.delete(fact.queue)
        case ProducerOpened():
            shadow.producers[fact.producer] = fact.time_ms
        case ProducersExpired():
            forget_producers(shadow, fact.producers)
        case Noted() | Repeated():
            _apply_message_ids(shadow, fact)


def forget_producers(shadow: Shadow, producers: Iterable[int]) -> None:
    """Producers expired: their streams are forgotten."""
    for producer in producers:
        del shadow.producers[producer]
        for queue in shadow.queues.values():
            queue.streams.pop(producer, None)


def _open(queue: ShadowQueue, offset: int, fact: Fact) -> Message:
    message = queue.messages.get(offset)
    if message is None:
        raise Violation("I18", f"{fact} is about {queue.name} {offset}, which is done")
    return message


def _lease(queue: ShadowQueue, message: Message) -> None:
    message.attempts += 1
    message.due_ms = 0
    if message.offset >= queue.cursor:
        queue.cursor = message.offset + 1
    else:
        queue.redelivered += 1


def _fail(queue: ShadowQueue, message: Message, fact: Failed) -> None:
    message.failures += 1
    message.due_ms = fact.due_ms
    message.history.append((*fact.failure,))
    if fact.dying:
        queue.put(message, Place.DYING)
