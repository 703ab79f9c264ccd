"""The shadow's exchanges: bindings in a list, every message matched against every one of them, nothing kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from tests.sim.violation import Violation

from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.facts import (
    Bound,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeFact,
    PublishedTo,
    Unbound,
)
from penstock.core.hashring import POINTS_PER_WEIGHT, hash_of
from penstock.core.matching import Destination, MessageView
from penstock.core.values import MEMORY

TAKEN, IN_MEMORY = "taken", "in memory"


class Rule(NamedTuple):
    """One binding."""

    kind: str
    number: int
    routing_key: str
    arguments: str


class Outcome(NamedTuple):
    """What became of one sequence; ``position`` is its fact's."""

    kind: str
    position: int


@dataclass(slots=True)
class Sequences:
    """What one producer published through one exchange, sequence by sequence."""

    last: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)


@dataclass(slots=True)
class ShadowExchange:
    """One exchange."""

    number: int
    name: str
    settings: ExchangeSettings
    rules: list[Rule] = field(default_factory=list)
    streams: dict[int, Sequences] = field(default_factory=dict)
    published: int = 0
    unrouted: int = 0
    unroutable: int = 0


class Way(NamedTuple):
    """Where a session's route leads: the exchange's name and number, and how."""

    exchange: str
    number: int
    routing_key: str
    mandatory: bool


class ShadowExchanges:
    """All of them."""

    def __init__(self) -> None:
        self.by_number: dict[int, ShadowExchange] = {}
        self.names: dict[str, ShadowExchange] = {}

    def apply(self, fact: ExchangeFact) -> None:
        """A definition changed."""
        match fact:
            case ExchangeDeclared():
                if fact.name in self.names:
                    raise Violation("I6", f"exchange {fact.name!r} was declared twice")
                exchange = ShadowExchange(fact.exchange, fact.name, fact.settings)
                self.by_number[fact.exchange] = self.names[fact.name] = exchange
            case ExchangeDeleted():
                del self.names[self.by_number.pop(fact.exchange).name]
                self.forget("exchange", fact.exchange)
            case Bound():
                self.by_number[fact.exchange].rules.append(Rule(*fact.destination, fact.routing_key, fact.arguments))
            case Unbound():
                self.by_number[fact.exchange].rules.remove(Rule(*fact.destination, fact.routing_key, fact.arguments))

    def forget(self, kind: str, number: int) -> None:
        """A destination is gone."""
        for exchange in self.by_number.values():
            exchange.rules = [rule for rule in exchange.rules if (rule.kind, rule.number) != (kind, number)]

    def took(self, fact: PublishedTo, position: int) -> None:
        """Messages were taken by an exchange."""
        exchange = self.by_number.get(fact.exchange)
        if exchange is None:
            return
        stream = exchange.streams.setdefault(fact.producer, Sequences())
        outcome = Outcome(IN_MEMORY if fact.level == MEMORY else TAKEN, position)
        end = fact.first_sequence + fact.message_count
        stream.outcomes.update(dict.fromkeys(range(fact.first_sequence, end), outcome))
        stream.last = end - 1
        exchange.published += fact.message_count
        if not fact.targets and fact.level != MEMORY:
            exchange.unrouted += fact.message_count

    def queues_for(self, exchange: ShadowExchange, routing_key: str, message: MessageView) -> list[int]:
        """Return the numbers of the queues that get a message, in order."""
        found: set[int] = set()
        self._follow(exchange, routing_key, message, found, set())
        return sorted(found)

    def _follow(
        self, exchange: ShadowExchange, key: str, message: MessageView, found: set[int], visited: set[int]
    ) -> None:
        if exchange.number in visited:
            return
        visited.add(exchange.number)
        matching = _matching(exchange, key, message)
        found.update(rule.number for rule in matching if rule.kind == "queue")
        further = [self.by_number[rule.number] for rule in matching if rule.kind == "exchange"]
        alternate = self.names.get(exchange.settings.alternate or "")
        if not matching and alternate is not None:
            further.append(alternate)
        for one in further:
            self._follow(one, key, message, found, visited)


def _matching(exchange: ShadowExchange, key: str, message: MessageView) -> list[Rule]:
    settings = exchange.settings
    if settings.type == "consistent-hash":
        value = {"routing-key": key, "key": message.key, "header": message.headers.get(settings.hash_header or "")}
        return _owner(exchange.rules, value[settings.hash_by])
    return [rule for rule in exchange.rules if _matches(settings.type, rule, key, message.headers)]


def _matches(kind: str, rule: Rule, key: str, headers: dict[str, Any]) -> bool:
    if kind == "headers":
        return _headers_match(json.loads(rule.arguments), headers)
    if kind == "topic":
        return topic_matches(_words(rule.routing_key), _words(key))
    return kind == "fanout" or rule.routing_key == key


def topic_matches(pattern: list[str], words: list[str]) -> bool:
    """The definition, tried out."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(topic_matches(pattern[1:], words[start:]) for start in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and topic_matches(pattern[1:], words[1:])


def _words(text: str) -> list[str]:
    return text.split(".") if text else []


def _headers_match(arguments: dict[str, Any], headers: dict[str, Any]) -> bool:
    equal = [
        name in headers and (value is None or (type(value), value) == (type(headers[name]), headers[name]))
        for name, value in arguments.items()
        if not name.startswith("x-")
    ]
    return all(equal) if arguments["x-match"] == "all" else any(equal)


def _owner(rules: list[Rule], value: Any) -> list[Rule]:
    """The rule with the point that is next on the ring."""
    wanted = hash_of("" if value is None else str(value))
    points = sorted(
        ((_point(f"{Destination(rule.kind, rule.number)!r} {rule.routing_key}", number) - wanted) % (1 << 64), index)
        for index, rule in enumerate(rules)
        for number in range(int(rule.routing_key) * POINTS_PER_WEIGHT)
    )
    return [rules[points[0][1]]] if points else []


def _point(name: str, number: int) -> int:
    """Eight points are cut from one hash."""
    start = number % 8 * 8
    return int.from_bytes(blake2b(f"{name} {number // 8}".encode()).digest()[start : start + 8], "little")
