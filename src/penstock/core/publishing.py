"""Publishing: routes, sequences, and blocks into logs. The hottest code beside delivery: one pass per block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from penstock.core.answers import refusal, resent
from penstock.core.broker import Broker, Confirm
from penstock.core.definitions import find_queue
from penstock.core.fanout import ExchangeRoute, publish_through
from penstock.core.intake import Intake, take_in
from penstock.core.queue import Queue, Stream
from penstock.core.session import Route, Session
from penstock.core.storing import Publication, store
from penstock.core.values import MEMORY, STORED

_new: Final = tuple.__new__
"""Builds a NamedTuple in a third of the time that calling its class takes; for what is built per block."""
Store = Callable[[Broker, Queue, int, Stream, Publication, int], int]
"""How a block is stored: returns its first offset, or what stands for it."""


def open_route(broker: Broker, session: Session, number: int, queue_name: str, routes_max: int) -> Queue:
    """Resolve where route ``number`` of this session leads: the default exchange routes by queue name (AMQP 0-9-1)."""
    session.check_route(number, routes_max)
    queue = find_queue(broker, queue_name)
    session.routes[number] = Route("", session.said(queue_name), queue_name, queue, queue.stream_of(session.producer))
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
            confirms.append(refusal(number, publication, "unknown-route"))
            continue
        queue = route.queue
        if queue.deleted:
            if isinstance(route, ExchangeRoute):
                publish_through(broker, session, route, publication, now_ms)
                continue
            found = broker.names.get(route.name)
            if found is None:
                session.confirms_in_line = True
                confirms.append(refusal(number, publication, "unknown-queue"))
                continue
            queue = route.queue = found
            route.stream = queue.stream_of(session.producer)
        stream = route.stream
        if queue.is_judged and keep is store:  # what is scheduled is bound by nothing until it is due
            take_in(Intake(broker, session, queue, stream, publication, now_ms))
        elif first_sequence <= stream.last_sequence:
            confirms.append(resent(number, publication, stream))
        elif broker.stops_producers and (code := broker.stop_code(durable=True)):
            confirms.append(refusal(number, publication, code))
        else:
            offset = keep(broker, queue, session.producer, stream, publication, now_ms)
            confirms.append(_new(Confirm, (number, route_number, STORED, level, "", first_sequence, count, offset)))


def queue_of(broker: Broker, session: Session, publication: Publication) -> Queue | None:
    """Return the queue that a block goes to, None when there is none, or an exchange chooses it."""
    route = session.routes.get(publication[0])
    if route is None or isinstance(route, ExchangeRoute):
        return None
    return broker.names.get(route.name) if route.queue.deleted else route.queue


def refuse(broker: Broker, session: Session, publication: Publication, code: str) -> None:
    """Refuse a block for what it is; the refusal keeps its place among the confirms of its stream (I9)."""
    queue = queue_of(broker, session, publication)
    if queue is not None and not queue.durable:
        route, _, first_sequence, count, block = publication
        publication = (route, MEMORY, first_sequence, count, block)
    session.confirms_in_line = True
    broker.confirms.append(refusal(session.number, publication, code))
