"""Named commands: their arguments checked, their results as maps. Everything here is rare; clarity first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from penstock.core import definitions, delivery, fanout, groups, lifetimes, publishing, settling
from penstock.core.finding import next_span
from penstock.core.group import Group
from penstock.core.intake import look_at_bounds
from penstock.core.log import BlockRef
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import QueueSettings, Refused, check_name, parse_settings
from penstock.engine import (
    finding,
    group_requests,
    holder_requests,
    message_requests,
    replies,
    schedule_requests,
    transfers,
)
from penstock.engine.arguments import I32_MAX, U32_MAX, U64_MAX, Arguments, Call, Handler
from penstock.engine.chroot import inward
from penstock.engine.deadletters import Redrive
from penstock.engine.exchange_requests import EXCHANGE_COMMANDS
from penstock.engine.interface import DeliveryOut, StoredBlock
from penstock.engine.namespace_requests import NAMESPACE_COMMANDS
from penstock.engine.queries import checked_selector
from penstock.engine.status import status

if TYPE_CHECKING:
    from penstock.engine.engine import Engine

LIST_LIMIT_MAX: Final = 1000
PEEK_COUNT_MAX: Final = 1000
PEEK_BYTES_MAX: Final = 1024 * 1024


def perform(
    engine: Engine, session: Session, request: int, command: str, values: dict[str, Any]
) -> dict[str, Any] | None:
    """Carry out a command; return its result, or None when it answers by itself later."""
    handler = _COMMANDS.get(command)
    if handler is None:
        raise Refused("unsupported", f"this broker has no command {command!r}")
    if session.namespace:
        values = inward(session.namespace, command, values)
    return handler(Call(engine, session, request, Arguments(command, values)))


def _queue_declare(call: Call) -> dict[str, Any]:
    name = call.arguments.text("queue", None)
    passive = call.arguments.flag("passive", False)
    values = call.arguments.rest()
    if passive:
        queue, created = definitions.find_queue(call.engine.broker, name), False
        queue.touch()
    else:
        settings = _canonical_settings(name, parse_settings(values))
        queue, created = definitions.declare(
            call.engine.broker, name, settings, call.engine.clock_ms(), call.engine.limits.queues_max
        )
        if created and settings.ephemeral:
            lifetimes.remember_queue(call.session, queue)
    return {"queue": queue.name, "id": queue.number, "created": created}


def _queue_alter(call: Call) -> dict[str, Any]:
    broker = call.engine.broker
    queue = definitions.find_queue(broker, call.arguments.text("queue", None))
    changed = definitions.alter(broker, queue, call.arguments.rest(), call.now_ms)
    look_at_bounds(broker, queue)
    return {"changed": changed}


def _canonical_settings(name: str, settings: QueueSettings) -> QueueSettings:
    """Naming the default dead-letter queue is the same as not naming one."""
    check_name(name)
    return replace(settings, dead_letter=None) if settings.dead_letter == f"{name}.dead" else settings


def _queue_describe(call: Call) -> None:
    queue = call.queue()
    info = _describe(call.engine, queue)
    call.answer_with_ages([info], [call.engine.oldest.of_queue(queue)], info)


def _describe(engine: Engine, queue: Queue) -> dict[str, Any]:
    stalled_count = engine.backpressure.stalled_count(queue)
    more = {"stalled_producers": stalled_count, "alarms": engine.alarms.raised(queue)}
    return definitions.describe(engine.broker, queue) | more


def _queue_list(call: Call) -> None:
    prefix = call.arguments.text("prefix", "")
    after = call.arguments.text("after", "")
    limit = call.arguments.number("limit", 500, 1, LIST_LIMIT_MAX)
    call.arguments.end()
    queues, more = definitions.list_queues(call.engine.broker, prefix, after, limit)
    infos = [_describe(call.engine, queue) for queue in queues]
    oldest = [call.engine.oldest.of_queue(queue) for queue in queues]
    call.answer_with_ages(infos, oldest, {"queues": infos, "more": more})


def _queue_delete(call: Call) -> dict[str, Any]:
    if_empty = call.arguments.flag("if_empty", False)
    if_unused = call.arguments.flag("if_unused", False)
    queue = call.queue()
    return {"deleted": definitions.delete(call.engine.broker, queue, if_empty, if_unused)}


def _queue_redrive(call: Call) -> None:
    limit = call.arguments.number("limit", 0)
    Redrive(call.engine, call.groups(), call.session.number, call.request, limit).start()


def _producer_open(call: Call) -> dict[str, Any]:
    producer = call.arguments.optional("producer")
    call.arguments.end()
    if producer is not None and (not isinstance(producer, int) or isinstance(producer, bool)):
        raise Refused("bad-setting", f"producer must be a number or nil, not {producer!r}")
    return {"producer": definitions.open_producer(call.engine.broker, call.session, producer, call.engine.clock_ms())}


def _route_open(call: Call) -> dict[str, Any]:
    route = call.arguments.number("route", None, 0, U32_MAX)
    exchange = call.arguments.text("exchange", "")
    routing_key = call.arguments.text("routing_key", None)
    mandatory = call.arguments.flag("mandatory", True)
    call.arguments.end()
    broker, limit = call.engine.broker, call.engine.limits.routes_per_session_max
    if exchange:
        source = fanout.open_exchange_route(broker, call.session, route, exchange, routing_key, mandatory, limit)
        return {"exchange_id": source.number}
    if not mandatory:
        raise Refused("bad-setting", "mandatory is false, and the default exchange routes to a queue or not at all")
    queue = publishing.open_route(broker, call.session, route, routing_key, limit)
    return {"queue_id": queue.number, "durable": queue.settings.durable}


def _route_close(call: Call) -> dict[str, Any]:
    route = call.arguments.number("route", None, 0, U32_MAX)
    call.arguments.end()
    if call.session.routes.pop(route, None) is None:
        raise Refused("unknown-route", f"this connection has no route {route}")
    return {}


def _credit(engine: Engine, arguments: Arguments, low: int) -> tuple[int, int]:
    limits = engine.limits
    messages = arguments.number("prefetch_messages", 200, low, U32_MAX)
    size_bytes = arguments.number("prefetch_bytes", 16 * 1024 * 1024, low, U64_MAX)
    return min(messages, limits.prefetch_messages_max), min(size_bytes, limits.prefetch_bytes_max)


def _consume(call: Call) -> dict[str, Any]:
    number = call.arguments.number("consumer", None, 0, U32_MAX)
    group_name = call.arguments.text("group", "")
    name = call.arguments.text("name", "")[:255]
    priority = call.arguments.number("priority", 0, -I32_MAX, I32_MAX)
    exclusive = call.arguments.flag("exclusive", False)
    where = checked_selector(call.arguments.optional("where"))
    credit = _credit(call.engine, call.arguments, 1)
    queue = call.queue()
    broker = call.engine.broker
    group = groups.find_group(queue, group_name) if group_name else groups.default_group(broker, queue, call.now_ms)
    delivery.check_exclusive(group, exclusive)
    delivery.check_choice(group, where)
    limit = call.engine.limits.consumers_per_session_max
    delivery.consume(broker, call.session, group, number, *credit, name, limit, priority, exclusive, where)
    return {"lease_ms": queue.settings.lease_ms, "queue_id": queue.number, "group_id": group.number}


def _flow(call: Call) -> dict[str, Any]:
    number = call.arguments.number("consumer", None, 0, U32_MAX)
    credit = _credit(call.engine, call.arguments, 0)
    call.arguments.end()
    delivery.set_credit(call.engine.broker, call.session, number, *credit)
    return {}


def _cancel(call: Call) -> dict[str, Any]:
    number = call.arguments.number("consumer", None, 0, U32_MAX)
    release = call.arguments.flag("release", False)
    call.arguments.end()
    delivery.remove_consumer(call.engine.broker, delivery.find_consumer(call.session, number))
    if release:
        settling.release_unstarted(call.engine.broker, call.session, number)
    return {}


def _peek(call: Call) -> None:
    partition = call.arguments.number("partition", 0)
    offset = call.arguments.number("offset", 0)
    count = call.arguments.number("count", 100, 1, PEEK_COUNT_MAX)
    bytes_max = min(call.arguments.number("bytes_max", PEEK_BYTES_MAX, 1), PEEK_BYTES_MAX)
    group = call.group()
    queue = group.queue
    if partition:
        raise Refused("bad-setting", f"queue {queue.name!r} has one partition, 0")
    parts = _peek_parts(group, max(offset, queue.log.start_offset), count, bytes_max)
    blocks = {block.position: block for block, _, _ in parts}
    at_hand = {position: s for position in blocks if (s := call.engine.blocks.get(position)) is not None}
    missing = [block for position, block in blocks.items() if position not in at_hand]

    def arrived(loaded: dict[int, StoredBlock]) -> None:
        sink = call.engine.sinks.get(call.session.number)
        if sink is not None:
            sink.peeked(call.request, _peek_entries(call.engine, group, parts, {**at_hand, **loaded}))

    if missing:
        call.engine.load(missing, arrived)
    else:
        arrived({})


def _peek_parts(group: Group, offset: int, count: int, bytes_max: int) -> list[tuple[BlockRef, int, int]]:
    """Return parts of blocks (first, end) with up to ``count`` messages that the group is not done with, from an offset
    on: those blocks alone are read.
    """
    parts: list[tuple[BlockRef, int, int]] = []
    size_bytes = 0
    while count and (span := next_span(group, offset, [], 0)) is not None:
        block = group.queue.log.block_at(span.first)
        if not parts or parts[-1][0].position != block.position:
            size_bytes += block.size_bytes
            if parts and size_bytes > bytes_max:
                break
        offset = min(span.end, block.end, span.first + count)
        parts.append((block, span.first, offset))
        count -= offset - span.first
    return parts


def _peek_entries(
    engine: Engine, group: Group, parts: list[tuple[BlockRef, int, int]], stored: dict[int, StoredBlock]
) -> list[DeliveryOut]:
    entries: list[DeliveryOut] = []
    for block, first, end in parts:
        time_ms, data = stored[block.position]
        run = group.outstanding.find(first)
        attempts, failures = (run.attempts, run.failures) if run else (0, 0)
        one = engine.codec.slice(data, first - block.first, end - block.first)
        entries.append(DeliveryOut(0, attempts, failures, 0, first, time_ms, 0, one, end - first))
    return entries


_COMMANDS: Final[dict[str, Handler]] = {
    "queue_declare": _queue_declare,
    "queue_describe": _queue_describe,
    "queue_list": _queue_list,
    "queue_purge": schedule_requests.purge,
    "queue_delete": _queue_delete,
    "queue_alter": _queue_alter,
    "transfer": transfers.transfer,
    "group_alter": group_requests.group_alter,
    "queue_redrive": _queue_redrive,
    "queue_pause": group_requests.queue_pause,
    "group_declare": group_requests.group_declare,
    "group_delete": group_requests.group_delete,
    "group_list": group_requests.group_list,
    "group_describe": group_requests.group_describe,
    "group_state": group_requests.group_state,
    "peek": _peek,
    "find": finding.find,
    "message_describe": message_requests.message_describe,
    "scheduled_peek": schedule_requests.scheduled_peek,
    "scheduled_cancel": schedule_requests.scheduled_cancel,
    "schedule_add": schedule_requests.schedule_add,
    "schedule_list": schedule_requests.schedule_list,
    "schedule_remove": schedule_requests.schedule_remove,
    "schedule_pause": schedule_requests.schedule_pause,
    "status": status,
    "producer_open": _producer_open,
    "route_open": _route_open,
    "route_close": _route_close,
    "connection_list": holder_requests.connection_list,
    "connection_close": holder_requests.connection_close,
    "consumer_list": holder_requests.consumer_list,
    "consumer_close": holder_requests.consumer_close,
    "lease_revoke": holder_requests.lease_revoke,
    "consume": _consume,
    "flow": _flow,
    "cancel": _cancel,
    "reply_open": replies.open_box,
    **EXCHANGE_COMMANDS,
    **NAMESPACE_COMMANDS,
}
