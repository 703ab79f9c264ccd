"""The definitions of a broker as values and as TOML: its queues, their groups, its exchanges and bindings.

A file says everything about what it names: a setting that is left out has its default. What it does not name is left
alone.
"""

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
from penstock.core.values import GroupSettings, QueueSettings, Refused, check_name, parse_group_settings, parse_settings

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


QUEUE_DEFAULTS: Final = QueueSettings().as_map()
GROUP_DEFAULTS: Final = GroupSettings().as_map()
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
    return tomli_w.dumps({"queues": queues, "exchanges": exchanges})


def _binding_table(binding: Binding) -> Settings:
    raw = binding.as_map()
    arguments = raw.pop("arguments")  # TOML has no nil: a header that only has to be there is an empty table
    return raw | (
        {"arguments": {name: {} if value is None else value for name, value in arguments.items()}} if arguments else {}
    )


def _given(settings: Settings, defaults: Settings) -> Settings:
    return {name: value for name, value in settings.items() if value != defaults[name]}


def read(text: str, source: str) -> Definitions:
    """Return what a file says. Raises CommandError naming the place that is wrong."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(ExitCode.DATA, f"{source} is no TOML: {error}") from error
    unknown = sorted(raw.keys() - {"queues", "exchanges"})
    if unknown:
        raise CommandError(ExitCode.DATA, f"{source}: there is no table {unknown[0]!r}", "There are queues, exchanges.")
    queues = {name: _read_queue(source, name, table) for name, table in _tables(source, "queues", raw)}
    exchanges = {name: _read_exchange(source, name, table) for name, table in _tables(source, "exchanges", raw)}
    return Definitions(queues, exchanges)


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
        group: _checked(source, f"{where}.groups.{group}", parse_group_settings, settings).as_map()
        for group, settings in _tables(source, f"{where}.groups", table)
    }
    return Queue(queue_settings(name, _checked(source, where, parse_settings, table).as_map()), groups)


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
