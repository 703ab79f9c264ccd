"""Publishing: routes, sequences, and blocks into logs. The hottest code beside delivery: one pass per block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from penstock.core.broker import Broker, Confirm
from penstock.core.definitions import find_queue
from penstock.core.facts import PUBLISHED_HEADER_BYTES, Published
from penstock.core.fanout import ExchangeRoute, publish_through
from penstock.core.intake import Intake, take_in
from penstock.core.queue import SCHEDULED_MARK, Queue, Stream
from penstock.core.session import Route, Session
from penstock.core.storing import Publication, store
from penstock.core.values import DUPLICATE, DUPLICATE_SCHEDULED, MEMORY, OFFSET_UNKNOWN, REFUSED, STORED

MEMORY_OVERRUN_BYTES: Final = 64 * 1024 * 1024
"""What a memory queue may hold beyond its bound: the windows of the producers whose confirms it holds back. Past it
publishes are refused, or producers that come and go could fill the memory (I13)."""
_new: Final = tuple.__new__
"""Builds a NamedTuple in a third of the time that calling its class takes; for what is built per block."""
Store = Callable[[Broker, Queue, int, Stream, Publication, int], int]
"""How a block is stored: returns its first offset, or what stands for it."""


def open_route(broker: Broker, session: Session, number: int, queue_name: str, routes_max: int) -> Queue:
    """Resolve where route ``number`` of this session leads: the default exchange routes by queue name (AMQP 0-9-1)."""
    session.check_route(number, routes_max)
    queue = find_queue(broker, queue_name)
    session.routes[number] = Route("", queue_name, queue, queue.stream_of(session.producer))
    return queue


def publish(
    broker: Broker, session: Session, publications: Iterable[Publication], now_ms: int, keep: Store = store
) -> None:
    """Store blocks; one Confirm each goes to ``broker.confirms``, to be released when its level holds.

    ``keep`` says where they go instead of the log's end.
    """
    number = session.number
    confirms = broker.confirms
    for publication in publications:
        route_number, level, first_sequence, count, _ = publication
        route = session.routes.get(route_number)
        if route is None:
            session.confirms_in_line = True
            confirms.append(_refusal(number, publication, "unknown-route"))
            continue
        queue = route.queue
        if queue.deleted:
            if isinstance(route, ExchangeRoute):
                publish_through(broker, session, route, publication, now_ms)
                continue
            found = broker.names.get(route.routing_key)
            if found is None:
                session.confirms_in_line = True
                confirms.append(_refusal(number, publication, "unknown-queue"))
                continue
            queue = route.queue = found
            route.stream = queue.stream_of(session.producer)
        stream = route.stream
        if not queue.settings.durable:
            level = MEMORY
            publication = (route_number, MEMORY, first_sequence, count, publication[4])  # noqa: PLW2901
        if queue.dedup is not None:
            blocked = _blocked(broker, queue)
            take_in(Intake(broker, session, queue, queue.dedup, stream, publication, blocked, now_ms))
        elif first_sequence <= stream.last_sequence:
            confirms.append(_duplicate(number, publication, stream))
        elif broker.storage_full and queue.settings.durable:
            confirms.append(_refusal(number, publication, "disk-full"))
        elif level == MEMORY and queue.log.live_bytes > queue.settings.memory_bytes_max + MEMORY_OVERRUN_BYTES:
            confirms.append(_refusal(number, publication, "limit-reached"))
        else:
            offset = keep(broker, queue, session.producer, stream, publication, now_ms)
            confirms.append(_new(Confirm, (number, route_number, STORED, level, "", first_sequence, count, offset)))


def _blocked(broker: Broker, queue: Queue) -> str:
    """Why the queue takes nothing new now; empty when it does."""
    if broker.storage_full and queue.settings.durable:
        return "disk-full"
    if not queue.settings.durable and queue.log.live_bytes > queue.settings.memory_bytes_max + MEMORY_OVERRUN_BYTES:
        return "limit-reached"
    return ""


def append_internal(broker: Broker, queue: Queue, block: bytes, now_ms: int, count: int = 1) -> int:
    """Store messages of no producer: a dead letter or a redrive, past bounds and dedup (SEMANTICS 11); those of a
    transaction, which looked at both before.
    """
    offset = queue.log.next_offset
    fact = Published(queue.number, offset, count, 0, 0, 0, now_ms, block)
    position = broker.recorder.record(fact) if queue.settings.durable else broker.recorder.hold(fact)
    broker.apply_published(queue, count, len(block) + PUBLISHED_HEADER_BYTES, position, 0, 0, now_ms)
    broker.published_queues[queue] = None
    return offset


def queue_of(broker: Broker, session: Session, publication: Publication) -> Queue | None:
    """Return the queue that a block goes to, None when there is none, or an exchange chooses it."""
    route = session.routes.get(publication[0])
    if route is None or isinstance(route, ExchangeRoute):
        return None
    return broker.names.get(route.routing_key) if route.queue.deleted else route.queue


def refuse(broker: Broker, session: Session, publication: Publication, code: str) -> None:
    """Refuse a block for what it is; the refusal keeps its place among the confirms of its stream (I9)."""
    queue = queue_of(broker, session, publication)
    if queue is not None and not queue.settings.durable:
        route, _, first_sequence, count, block = publication
        publication = (route, MEMORY, first_sequence, count, block)
    session.confirms_in_line = True
    broker.confirms.append(_refusal(session.number, publication, code))


def _refusal(session: int, publication: Publication, code: str) -> Confirm:
    route, level, first_sequence, count, _ = publication
    return Confirm(session, route, REFUSED, level, code, first_sequence, count, OFFSET_UNKNOWN)


def _duplicate(session: int, publication: Publication, stream: Stream) -> Confirm:
    route, level, first_sequence, count, _ = publication
    if first_sequence + count - 1 > stream.last_sequence or stream.was_refused(first_sequence):
        return _refusal(session, publication, "sequence-order")
    offset = stream.offset_of(first_sequence)
    if offset != OFFSET_UNKNOWN and offset & SCHEDULED_MARK:
        offset ^= SCHEDULED_MARK
        return Confirm(session, route, DUPLICATE_SCHEDULED, level, "", first_sequence, count, offset)
    return Confirm(session, route, DUPLICATE, level, "", first_sequence, count, offset)
