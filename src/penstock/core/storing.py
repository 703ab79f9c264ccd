"""A block enters a log: recorded, appended, its sequences noted. What may enter is decided before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.core.asks import Ask, Asks
from penstock.core.broker import Broker
from penstock.core.expiring import watch
from penstock.core.facts import Asked, Published
from penstock.core.queue import Queue, Stream
from penstock.core.records import PUBLISHED_HEADER_BYTES

_new: Final = tuple.__new__
"""Builds a NamedTuple in a third of the time that calling its class takes; for what is built per block."""

Publication = tuple[int, int, int, int, bytes]
"""(route, level, first sequence, count, block)"""


def store(broker: Broker, queue: Queue, producer: int, stream: Stream, publication: Publication, now_ms: int) -> int:
    """Store a producer's block at the end of the log; return its first offset."""
    _, level, first_sequence, count, block = publication
    log = queue.log
    fact = _new(Published, (queue.number, log.next_offset, count, producer, first_sequence, level, now_ms, block))
    position = broker.recorder.record(fact) if queue.durable else broker.recorder.hold(fact)
    offset = log.append(count, len(block) + PUBLISHED_HEADER_BYTES, position)
    stream.advance(first_sequence, count, offset)
    broker.producers[producer] = now_ms
    broker.published_queues[queue] = None
    if queue.terms is not None or broker.asks is not None:
        note_terms(broker, queue, offset, count, first_sequence, now_ms)
    return offset


def append_internal(
    broker: Broker, queue: Queue, block: bytes, now_ms: int, count: int = 1, asks: Sequence[Ask] = ()
) -> int:
    """Store messages of no producer: a dead letter or a redrive, past bounds and dedup (SEMANTICS 11); those of a
    transaction, which looked at both before. ``asks``: what they ask for, where that counts.
    """
    offset = queue.log.next_offset
    fact = Published(queue.number, offset, count, 0, 0, 0, now_ms, block)
    position = broker.recorder.record(fact) if queue.durable else broker.recorder.hold(fact)
    broker.apply_published(queue, count, len(block) + PUBLISHED_HEADER_BYTES, position, 0, 0, now_ms)
    if runs := Asks(0, asks).runs(0, count, queue.settings.priority_max):
        broker.emit(queue.durable, Asked(queue.number, offset, now_ms, runs))
    watch(broker, queue)
    broker.published_queues[queue] = None
    return offset


def note_terms(broker: Broker, queue: Queue, first: int, count: int, first_sequence: int, now_ms: int) -> None:
    """The messages of a block have terms: their queue's, and what they ask for themselves."""
    if queue.terms is not None:
        queue.terms.arrived(first, first + count, now_ms)
    if broker.asks is not None:
        note_asked(broker, queue, first, count, first_sequence, now_ms)
    watch(broker, queue)


def note_asked(
    broker: Broker, queue: Queue, first: int, count: int, first_sequence: int, now_ms: int, scheduled: bool = False
) -> None:
    """Record which terms messages ask for, by offset or by schedule id."""
    assert broker.asks is not None, "something is asked"
    runs = broker.asks.runs(first_sequence, count, queue.settings.priority_max)
    if runs:
        broker.emit(queue.durable, Asked(queue.number, first, now_ms, runs, scheduled))
