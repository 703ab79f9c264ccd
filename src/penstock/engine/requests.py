"""Named commands: their arguments checked, their results as maps. Everything here is rare; clarity first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from penstock.core import definitions, delivery, publishing, settling
from penstock.core.log import BlockRef
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import QueueSettings, Refused, check_name, parse_settings
from penstock.engine.deadletters import Redrive
from penstock.engine.interface import DeliveryOut, Load, StoredBlock

if TYPE_CHECKING:
    from penstock.engine.engine import Engine

LIST_LIMIT_MAX: Final = 1000
PEEK_COUNT_MAX: Final = 1000
PEEK_BYTES_MAX: Final = 1024 * 1024
_U32_MAX: Final = 0xFFFFFFFF
_U64_MAX: Final = 0xFFFFFFFFFFFFFFFF


class Arguments:
    """A command's arguments: read one by one, wrong and unknown ones refused by name."""

    def __init__(self, command: str, values: dict[str, Any]) -> None:
        self._command = command
        self._values = dict(values)

    def number(self, name: str, default: int | None, low: int = 0, high: int = _U64_MAX) -> int:
        """Take a whole number within bounds; without a default it must be there."""
        value = self._take(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Refused("bad-setting", f"{name} must be a whole number from {low} to {high}, not {value!r}")
        return value

    def text(self, name: str, default: str | None) -> str:
        """Take a text."""
        value = self._take(name, default)
        if not isinstance(value, str):
            raise Refused("bad-setting", f"{name} must be a text, not {value!r}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Take a truth value."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise Refused("bad-setting", f"{name} must be true or false, not {value!r}")
        return value

    def optional(self, name: str) -> Any:
        """Take a value that may be missing."""
        return self._values.pop(name, None)

    def rest(self) -> dict[str, Any]:
        """Take all that is left."""
        values, self._values = self._values, {}
        return values

    def end(self) -> None:
        """Refuse what was not taken."""
        if self._values:
            names = ", ".join(sorted(map(repr, self._values)))
            raise Refused("bad-setting", f"{self._command} has no argument {names}")

    def _take(self, name: str, default: Any) -> Any:
        value = self._values.pop(name, default)
        if value is None:
            raise Refused("bad-setting", f"{self._command} needs {name}")
        return value


def perform(
    engine: Engine, session: Session, request: int, command: str, values: dict[str, Any]
) -> dict[str, Any] | None:
    """Carry out a command; return its result, or None when it answers by itself later."""
    handler = _COMMANDS.get(command)
    if handler is None:
        raise Refused("unsupported", f"this broker has no command {command!r}")
    return handler(engine, session, request, Arguments(command, values))


def _queue_declare(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    name = arguments.text("queue", None)
    passive = arguments.flag("passive", False)
    values = arguments.rest()
    if passive:
        queue, created = definitions.find_queue(engine.broker, name), False
    else:
        settings = _with_declared_dead_letter(engine, name, parse_settings(values))
        queue, created = definitions.declare(engine.broker, name, settings, engine.clock_ms(), engine.limits.queues_max)
    return {"queue": queue.name, "id": queue.number, "created": created}


def _with_declared_dead_letter(engine: Engine, name: str, settings: QueueSettings) -> QueueSettings:
    """Naming the default dead-letter queue is the same as not naming one."""
    check_name(name)
    if settings.dead_letter == f"{name}.dead":
        values = settings.as_map()
        return QueueSettings(**{**values, "dead_letter": None})
    return settings


def _queue_describe(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    queue = _named_queue(engine, arguments)
    return definitions.describe(engine.broker, queue)


def _queue_list(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    prefix = arguments.text("prefix", "")
    after = arguments.text("after", "")
    limit = arguments.number("limit", 500, 1, LIST_LIMIT_MAX)
    arguments.end()
    queues, more = definitions.list_queues(engine.broker, prefix, after, limit)
    return {"queues": [definitions.describe(engine.broker, queue) for queue in queues], "more": more}


def _queue_purge(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    return {"purged": definitions.purge(engine.broker, _named_queue(engine, arguments))}


def _queue_delete(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    if_empty = arguments.flag("if_empty", False)
    if_unused = arguments.flag("if_unused", False)
    queue = _named_queue(engine, arguments)
    return {"deleted": definitions.delete(engine.broker, queue, if_empty, if_unused)}


def _queue_redrive(engine: Engine, session: Session, request: int, arguments: Arguments) -> None:
    limit = arguments.number("limit", 0)
    Redrive(engine, _named_queue(engine, arguments), session.number, request, limit).start()


def _producer_open(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    producer = arguments.optional("producer")
    arguments.end()
    if producer is not None and (not isinstance(producer, int) or isinstance(producer, bool)):
        raise Refused("bad-setting", f"producer must be a number or nil, not {producer!r}")
    return {"producer": definitions.open_producer(engine.broker, session, producer, engine.clock_ms())}


def _route_open(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    route = arguments.number("route", None, 0, _U32_MAX)
    exchange = arguments.text("exchange", "")
    routing_key = arguments.text("routing_key", None)
    arguments.end()
    limit = engine.limits.routes_per_session_max
    queue = publishing.open_route(engine.broker, session, route, exchange, routing_key, limit)
    return {"queue_id": queue.number, "durable": queue.settings.durable}


def _route_close(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    route = arguments.number("route", None, 0, _U32_MAX)
    arguments.end()
    if session.routes.pop(route, None) is None:
        raise Refused("unknown-route", f"this connection has no route {route}")
    return {}


def _credit(engine: Engine, arguments: Arguments, low: int) -> tuple[int, int]:
    limits = engine.limits
    messages = arguments.number("prefetch_messages", 200, low, _U32_MAX)
    size_bytes = arguments.number("prefetch_bytes", 16 * 1024 * 1024, low, _U64_MAX)
    return min(messages, limits.prefetch_messages_max), min(size_bytes, limits.prefetch_bytes_max)


def _consume(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    number = arguments.number("consumer", None, 0, _U32_MAX)
    group = arguments.text("group", "")
    name = arguments.text("name", "")
    credit = _credit(engine, arguments, 1)
    queue = _named_queue(engine, arguments)
    if group:
        raise Refused("unknown-group", f"queue {queue.name!r} has no group {group!r}; the default group is ''")
    limit = engine.limits.consumers_per_session_max
    delivery.consume(engine.broker, session, queue, number, *credit, name[:255], limit)
    return {"lease_ms": queue.settings.lease_ms, "queue_id": queue.number}


def _flow(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    number = arguments.number("consumer", None, 0, _U32_MAX)
    credit = _credit(engine, arguments, 0)
    arguments.end()
    delivery.set_credit(engine.broker, session, number, *credit)
    return {}


def _cancel(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    number = arguments.number("consumer", None, 0, _U32_MAX)
    release = arguments.flag("release", False)
    arguments.end()
    delivery.remove_consumer(engine.broker, delivery.find_consumer(session, number))
    if release:
        settling.release_unstarted(engine.broker, session, number)
    return {}


def _peek(engine: Engine, session: Session, request: int, arguments: Arguments) -> None:
    partition = arguments.number("partition", 0)
    offset = arguments.number("offset", 0)
    count = arguments.number("count", 100, 1, PEEK_COUNT_MAX)
    bytes_max = min(arguments.number("bytes_max", PEEK_BYTES_MAX, 1), PEEK_BYTES_MAX)
    queue = _named_queue(engine, arguments)
    if partition:
        raise Refused("bad-setting", f"queue {queue.name!r} has one partition, 0")
    first = max(offset, queue.log.start_offset)
    if first >= queue.log.visible:
        engine.sinks[session.number].peeked(request, [])
        return
    blocks = [block for block in queue.log.blocks_from(first, bytes_max) if block.first < queue.log.visible]
    missing = [block for block in blocks if engine.blocks.get(block.position) is None]
    at_hand = {b.position: s for b in blocks if (s := engine.blocks.get(b.position)) is not None}

    def arrived(loaded: dict[int, StoredBlock]) -> None:
        sink = engine.sinks.get(session.number)
        if sink is not None:
            sink.peeked(request, _peek_entries(engine, queue, blocks, {**at_hand, **loaded}, first, count))

    if missing:
        engine.loads.append(Load(missing, arrived))
    else:
        arrived({})


def _peek_entries(
    engine: Engine, queue: Queue, blocks: list[BlockRef], stored: dict[int, StoredBlock], first: int, count: int
) -> list[DeliveryOut]:
    """Up to ``count`` messages from ``first`` on that the default group is not done with."""
    entries: list[DeliveryOut] = []
    for block in blocks:
        time_ms, data = stored[block.position]
        offset = max(first, block.first)
        while offset < block.end and count:
            if not queue.group.is_open(offset):
                offset += 1
                continue
            end = offset + 1
            run = queue.group.outstanding.find(offset)
            limit = min(block.end, run.end if run else block.end, offset + count)
            end = max(end, limit)
            attempts, failures = (run.attempts, run.failures) if run else (0, 0)
            part = engine.codec.slice(data, offset - block.first, end - block.first)
            entries.append(DeliveryOut(0, attempts, failures, 0, offset, time_ms, 0, part, end - offset))
            count -= end - offset
            offset = end
    return entries


def _status(engine: Engine, session: Session, request: int, arguments: Arguments) -> dict[str, Any]:
    arguments.end()
    broker = engine.broker
    groups = [queue.group for queue in broker.queues.values()]
    return {
        "boot_epoch": broker.boot_epoch,
        "queues": len(broker.queues),
        "consumers": sum(len(group.consumers) for group in groups),
        "messages": sum(definitions.waiting_count(queue) for queue in broker.queues.values()),
        "acked": sum(group.counters.acked for group in groups),
        "redelivered": sum(group.counters.redelivered for group in groups),
        "delivered": engine.delivered,
        "commits": engine.commits,
        "journal_bytes": engine.journal.total_bytes,
        "live_bytes": engine.blocks.live_bytes,
        "cache_bytes": engine.blocks.cache_bytes,
        "segments": len(engine.journal.segments),
        "storage": "failed" if engine.failure else "full" if broker.storage_full else "ok",
    }


def _named_queue(engine: Engine, arguments: Arguments) -> Queue:
    name = arguments.text("queue", None)
    arguments.end()
    return definitions.find_queue(engine.broker, name)


_Handler = Callable[["Engine", Session, int, Arguments], dict[str, Any] | None]

_COMMANDS: Final[dict[str, _Handler]] = {
    "queue_declare": _queue_declare,
    "queue_describe": _queue_describe,
    "queue_list": _queue_list,
    "queue_purge": _queue_purge,
    "queue_delete": _queue_delete,
    "queue_redrive": _queue_redrive,
    "peek": _peek,
    "status": _status,
    "producer_open": _producer_open,
    "route_open": _route_open,
    "route_close": _route_close,
    "consume": _consume,
    "flow": _flow,
    "cancel": _cancel,
}
