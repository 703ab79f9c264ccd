"""The definitions of a broker as values and as TOML: namespaces, queues, their groups, exchanges, bindings, recurring
schedules.

A file says everything about what it names: a setting that is left out has its default. What it does not name is left
alone.
"""

import base64
import contextlib
import json
import tomllib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import tomli_w

from penstock.cli.exits import CommandError, ExitCode
from penstock.core.exchange_settings import (
    ExchangeSettings,
    check_binding,
    check_exchange_name,
    parse_exchange_settings,
)
from penstock.core.namespaces import NamespaceSettings, check_namespace_name, parse_namespace_settings
from penstock.core.recurring import MISSED
from penstock.core.values import GroupSettings, QueueSettings, Refused, check_name, parse_group_settings, parse_settings
from penstock.cron import CronCalendar
from penstock.net.codec import WireBlockCodec
from penstock.net.selecting import parse_where
from penstock_client.message import Message
from penstock_client.outgoing import encode_parts, prepare
from penstock_client.wire.blocks import decode_block

Settings = dict[str, Any]


class Binding(NamedTuple):
    """A rule of an exchange; ``arguments`` are canonical JSON."""

    kind: str
    destination: str
    routing_key: str
    arguments: str

    def __str__(self) -> str:
        given = f" {self.arguments}" if self.arguments != "{}" else ""
        return f"{self.kind} {self.destination!r} by {self.routing_key!r}{given}"

    def as_map(self) -> Settings:
        """Return it as the protocol has it."""
        to = "queue" if self.kind == "queue" else "to_exchange"
        return {to: self.destination, "routing_key": self.routing_key, "arguments": json.loads(self.arguments)}


class Queue(NamedTuple):
    """Every setting of a queue, and of its lasting named groups."""

    settings: Settings
    groups: dict[str, Settings]


class Exchange(NamedTuple):
    """Every setting of an exchange, and its bindings."""

    settings: Settings
    bindings: frozenset[Binding]


class Definitions(NamedTuple):
    """What a broker has, or is to have, by name."""

    queues: dict[str, Queue]
    exchanges: dict[str, Exchange]
    schedules: dict[str, Settings]
    """``block`` is the message that each publishes, as a producer would send it."""
    namespaces: dict[str, Settings]
    """The limits of each."""


QUEUE_DEFAULTS: Final = QueueSettings().as_map()
GROUP_DEFAULTS: Final = GroupSettings().as_map()
NAMESPACE_DEFAULTS: Final = NamespaceSettings().as_map()
SCHEDULE_DEFAULTS: Final = {"time_zone": "UTC", "missed": "once"}
_SCHEDULE_NAMES: Final = frozenset({"cron", "queue", "time_zone", "missed"})
_MESSAGE_NAMES: Final = frozenset({"body", "key", "headers", "block"})
_BINDING_NAMES: Final = frozenset({"queue", "to_exchange", "routing_key", "arguments"})


def write(definitions: Definitions) -> str:
    """Return the TOML text, names sorted, defaults left out."""
    queues: Settings = {}
    for name, queue in sorted(definitions.queues.items()):
        queues[name] = _given(queue.settings, QUEUE_DEFAULTS)
        if queue.groups:
            groups = sorted(queue.groups.items())
            queues[name]["groups"] = {group: _given(settings, GROUP_DEFAULTS) for group, settings in groups}
    exchanges: Settings = {}
    for name, exchange in sorted(definitions.exchanges.items()):
        defaults = ExchangeSettings(exchange.settings["type"]).as_map()
        exchanges[name] = {"type": exchange.settings["type"], **_given(exchange.settings, defaults)}
        if exchange.bindings:
            exchanges[name]["bindings"] = [_binding_table(binding) for binding in sorted(exchange.bindings, key=str)]
    schedules = {name: _schedule_table(schedule) for name, schedule in sorted(definitions.schedules.items())}
    namespaces = {name: _given(limits, NAMESPACE_DEFAULTS) for name, limits in sorted(definitions.namespaces.items())}
    first = {"namespaces": namespaces} if namespaces else {}
    return tomli_w.dumps(first | {"queues": queues, "exchanges": exchanges, "schedules": schedules})


def _binding_table(binding: Binding) -> Settings:
    raw = binding.as_map()
    arguments = raw.pop("arguments")  # TOML has no nil: a header that only has to be there is an empty table
    return raw | (
        {"arguments": {name: {} if value is None else value for name, value in arguments.items()}} if arguments else {}
    )


def _schedule_table(schedule: Settings) -> Settings:
    table = {
        name: value for name, value in schedule.items() if name != "block" and value != SCHEDULE_DEFAULTS.get(name)
    }
    columns = decode_block(schedule["block"])
    key, headers = (columns.keys or [None])[0], (columns.headers or [None])[0] or {}
    if all(isinstance(value, str | int | float) for value in headers.values()):  # what TOML has
        with contextlib.suppress(UnicodeDecodeError):
            message: Settings = {"body": bytes(columns.bodies[0]).decode()}
            message |= ({} if key is None else {"key": key}) | ({"headers": headers} if headers else {})
            if encode_message(message) == schedule["block"]:
                return table | message
    return table | {"block": base64.b64encode(schedule["block"]).decode()}  # more than text, a key and headers


def encode_message(table: Settings) -> bytes:
    """Return the block of a message that a schedule publishes: of ``body``, ``key``, ``headers``."""
    message = Message(table["body"].encode(), key=table.get("key"), headers=table.get("headers"))
    [(block, _)] = encode_parts([prepare(message)])
    return bytes(block)


def _given(settings: Settings, defaults: Settings) -> Settings:
    return {name: value for name, value in settings.items() if value != defaults[name]}


def read(text: str, source: str) -> Definitions:
    """Return what a file says. Raises CommandError naming the place that is wrong."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(ExitCode.DATA, f"{source} is no TOML: {error}") from error
    unknown = sorted(raw.keys() - set(Definitions._fields))
    if unknown:
        known = f"There are {', '.join(Definitions._fields)}."
        raise CommandError(ExitCode.DATA, f"{source}: there is no table {unknown[0]!r}", known)
    queues = {name: _read_queue(source, name, table) for name, table in _tables(source, "queues", raw)}
    exchanges = {name: _read_exchange(source, name, table) for name, table in _tables(source, "exchanges", raw)}
    schedules = {name: _read_schedule(source, name, table) for name, table in _tables(source, "schedules", raw)}
    namespaces = {
        name: _checked(source, f"namespaces.{name}", _namespace_settings, (name, table)).as_map()
        for name, table in _tables(source, "namespaces", raw)
    }
    return Definitions(queues, exchanges, schedules, namespaces)


def _namespace_settings(named: tuple[str, Settings]) -> NamespaceSettings:
    check_namespace_name(named[0])
    return parse_namespace_settings(named[1])


def _tables(source: str, where: str, raw: Settings) -> list[tuple[str, Settings]]:
    key = where.rpartition(".")[2]
    tables = raw.pop(key, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise CommandError(ExitCode.DATA, f"{source}: {where} must be tables, one for each name")
    for name in tables:
        _checked(source, where, check_name, name)
    return list(tables.items())


def _read_queue(source: str, name: str, table: Settings) -> Queue:
    where = f"queues.{name}"
    groups = {
        group: _checked(source, f"{where}.groups.{group}", _group_settings, settings).as_map()
        for group, settings in _tables(source, f"{where}.groups", table)
    }
    return Queue(queue_settings(name, _checked(source, where, _queue_settings, table).as_map()), groups)


def _queue_settings(table: Settings) -> QueueSettings:
    settings = parse_settings(table)
    if settings.ephemeral:
        raise Refused("bad-setting", "an ephemeral queue lives by a connection: no file can keep it")
    return settings


def _group_settings(table: Settings) -> GroupSettings:
    """Read a group's settings; its selector is parsed here as the broker parses it. Raises Refused."""
    refusal = parse_where(table) if "where" in table else None
    if refusal:
        raise Refused(refusal.code, refusal.message)
    return parse_group_settings(table)


def _read_exchange(source: str, name: str, table: Settings) -> Exchange:
    where = f"exchanges.{name}"
    bindings = table.pop("bindings", [])
    if not isinstance(bindings, list) or not all(isinstance(binding, dict) for binding in bindings):
        raise CommandError(ExitCode.DATA, f"{source}: {where}.bindings must be an array of tables")
    _checked(source, where, check_exchange_name, name)
    settings = _checked(source, where, parse_exchange_settings, table)
    return Exchange(
        settings.as_map(),
        frozenset(
            _checked(source, f"{where}.bindings, number {number}", lambda raw: _read_binding(settings, raw), binding)
            for number, binding in enumerate(bindings, 1)
        ),
    )


def _read_schedule(source: str, name: str, table: Settings) -> Settings:
    schedule: Settings = _checked(source, f"schedules.{name}", _schedule_of, table)
    return schedule


def _schedule_of(table: Settings) -> Settings:
    settings = SCHEDULE_DEFAULTS | {key: value for key, value in table.items() if key not in _MESSAGE_NAMES}
    unknown = sorted(settings.keys() - _SCHEDULE_NAMES)
    if unknown:
        known = ", ".join(sorted(_SCHEDULE_NAMES | _MESSAGE_NAMES))
        raise Refused("bad-setting", f"a schedule has no {unknown[0]!r}; there are {known}")
    wrong = sorted(key for key in _SCHEDULE_NAMES if not isinstance(settings.get(key), str))
    if wrong:
        raise Refused("bad-setting", f"{wrong[0]} must be given, as text")
    if settings["missed"] not in MISSED:
        raise Refused("bad-setting", f"missed must be one of {', '.join(MISSED)}, not {settings['missed']!r}")
    CronCalendar().check(settings["cron"], settings["time_zone"])
    try:
        block = base64.b64decode(table["block"], validate=True) if "block" in table else encode_message(table)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise Refused("bad-block", f"it needs a body, and perhaps a key and headers: {error}") from error
    problem = WireBlockCodec().single_problem(block)
    if problem:
        raise Refused("bad-block", f"block must be the block of one message: {problem}")
    return settings | {"block": block}


def _read_binding(settings: ExchangeSettings, raw: Settings) -> Binding:
    unknown = sorted(raw.keys() - _BINDING_NAMES)
    if unknown:
        raise Refused("bad-binding", f"a binding has no {unknown[0]!r}; there are {', '.join(sorted(_BINDING_NAMES))}")
    if ("queue" in raw) == ("to_exchange" in raw):
        raise Refused("bad-binding", "a binding leads to either a queue or an exchange (to_exchange): name one")
    kind, destination = ("queue", raw["queue"]) if "queue" in raw else ("exchange", raw["to_exchange"])
    arguments, routing_key = raw.get("arguments", {}), raw.get("routing_key", "")
    if isinstance(arguments, dict):
        arguments = {name: None if value == {} else value for name, value in arguments.items()}
    return Binding(kind, check_name(destination), routing_key, check_binding(settings, routing_key, arguments))


def queue_settings(name: str, settings: Settings) -> Settings:
    """Return settings with the dead-letter queue's name where it is not the one by default."""
    return {**settings, "dead_letter": None} if settings["dead_letter"] == f"{name}.dead" else settings


def _checked(source: str, where: str, check: Callable[[Any], Any], value: Any) -> Any:
    try:
        return check(value)
    except Refused as refused:
        raise CommandError(ExitCode.DATA, f"{source}, {where}: {refused.refusal[1]}") from refused
