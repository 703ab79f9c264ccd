"""How each type of exchange finds the destinations of a message: one class per type, one interface.

A destination is found once, whichever of its bindings match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol, Self

from penstock.core import exchange_settings
from penstock.core.exchange_settings import BY_HEADER, BY_KEY, MATCH, ExchangeSettings, compared_headers
from penstock.core.hashring import HashRing
from penstock.core.topics import TopicTrie
from penstock.core.values import EPHEMERAL_NUMBERS_FROM

QUEUE: Final = "queue"
EXCHANGE: Final = "exchange"


class Destination(NamedTuple):
    """What a binding leads to: a queue or an exchange, by number."""

    kind: str
    number: int

    @classmethod
    def to_queue(cls, number: int) -> Self:
        """Return a queue as a destination."""
        return cls(QUEUE, number)

    @classmethod
    def to_exchange(cls, number: int) -> Self:
        """Return an exchange as a destination."""
        return cls(EXCHANGE, number)

    @property
    def is_recorded(self) -> bool:
        """False for an ephemeral queue: no journal knows it, nor its bindings."""
        return self.number < EPHEMERAL_NUMBERS_FROM


class MessageView(NamedTuple):
    """What routing may look at beside the routing key."""

    key: str | None
    headers: dict[str, Any]


NO_MESSAGE: Final = MessageView(None, {})


class Matcher(Protocol):
    """The bindings of one exchange."""

    def add(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding in."""

    def remove(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding out."""

    def match(self, routing_key: str, message: MessageView) -> Iterable[Destination]:
        """Return where a message goes, each destination once, in the order of binding where there is one."""


class DirectMatcher:
    """The routing keys are equal."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[Destination, None]] = {}

    def add(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding in."""
        del arguments
        self._by_key.setdefault(routing_key, {})[destination] = None

    def remove(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding out."""
        del arguments
        bound = self._by_key[routing_key]
        del bound[destination]
        if not bound:
            del self._by_key[routing_key]

    def match(self, routing_key: str, message: MessageView) -> Iterable[Destination]:
        """Return what is bound with this key."""
        del message
        return self._by_key.get(routing_key, ())


class FanoutMatcher:
    """Everything goes everywhere. Bindings of one destination that differ in their ignored keys are counted."""

    def __init__(self) -> None:
        self._bound: Counter[Destination] = Counter()

    def add(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding in."""
        del routing_key, arguments
        self._bound[destination] += 1

    def remove(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding out."""
        del routing_key, arguments
        self._bound[destination] -= 1
        if not self._bound[destination]:
            del self._bound[destination]

    def match(self, routing_key: str, message: MessageView) -> Iterable[Destination]:
        """Return all that is bound."""
        del routing_key, message
        return self._bound


class TopicMatcher:
    """The routing key's words match a pattern."""

    def __init__(self) -> None:
        self._trie: TopicTrie[Destination] = TopicTrie()

    def add(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding in."""
        del arguments
        self._trie.add(routing_key, destination)

    def remove(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding out."""
        del arguments
        self._trie.remove(routing_key, destination)

    def match(self, routing_key: str, message: MessageView) -> Iterable[Destination]:
        """Return what is bound with a pattern that matches."""
        del message
        return self._trie.match(routing_key)


class _HeadersRule(NamedTuple):
    number: int
    destination: Destination
    match_all: bool
    compared: tuple[tuple[str, Any], ...]

    def matches(self, headers: dict[str, Any]) -> bool:
        outcomes = (name in headers and _equal(value, headers[name]) for name, value in self.compared)
        return all(outcomes) if self.match_all else any(outcomes)


_Sign = tuple[str, bool, Any]
"""A header's name, whether its value is a truth value (which is no number), and the value: equal where they match."""
_PRESENT: Final = object()
"""In place of a value: the header is there, whatever it is."""
_ALWAYS: Final[_Sign] = ("", False, _PRESENT)
"""What every message shows."""


class HeadersMatcher:
    """All, or any, of a binding's headers are in the message (AMQP 0-9-1, 3.1.3.4).

    A rule is kept under signs of which a message has to show one: where all headers must match under one of them, the
    one that the fewest rules are under; where any is enough under each. A message is compared with the rules under what
    it shows and no others: thousands of bindings that differ in a value cost about what one costs.
    """

    def __init__(self) -> None:
        self._rules: dict[str, tuple[_HeadersRule, list[_Sign]]] = {}
        self._under: dict[_Sign, dict[int, _HeadersRule]] = {}
        self._next = 0

    def add(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding in."""
        compared = tuple(compared_headers(arguments))
        rule = _HeadersRule(self._next, destination, arguments[MATCH] == "all", compared)
        self._next += 1
        signs = [_sign(name, _PRESENT if value is None else value) for name, value in compared] or [_ALWAYS]
        if rule.match_all:
            signs = [min(signs, key=lambda sign: len(self._under.get(sign, ())))]
        for sign in signs:
            self._under.setdefault(sign, {})[rule.number] = rule
        self._rules[_label(destination, routing_key, arguments)] = rule, signs

    def remove(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding out."""
        rule, signs = self._rules.pop(_label(destination, routing_key, arguments))
        for sign in signs:
            del self._under[sign][rule.number]
            if not self._under[sign]:
                del self._under[sign]

    def match(self, routing_key: str, message: MessageView) -> Iterable[Destination]:
        """Return what is bound with headers that match."""
        del routing_key
        headers, under = message.headers, self._under
        found: dict[int, Destination] = {}
        for sign in _signs(headers):
            for number, rule in under.get(sign, {}).items():
                if number not in found and rule.matches(headers):
                    found[number] = rule.destination
        return dict.fromkeys([found[number] for number in sorted(found)])


def _signs(headers: dict[str, Any]) -> Iterator[_Sign]:
    """Yield what a message with these headers shows; values that no binding can have are only there."""
    yield _ALWAYS
    for name, value in headers.items():
        yield _sign(name, _PRESENT)
        if isinstance(value, (str, int, float)):
            yield _sign(name, value)


def _sign(name: str, value: Any) -> _Sign:
    return name, isinstance(value, bool), value


class HashMatcher:
    """One of the destinations, the same for the same value; the binding's routing key is its weight."""

    def __init__(self, hash_by: str, hash_header: str | None) -> None:
        self._ring: HashRing[Destination] = HashRing()
        self._hash_by = hash_by
        self._hash_header = hash_header

    def add(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding in."""
        del arguments
        self._ring.add(destination, routing_key, int(routing_key))

    def remove(self, destination: Destination, routing_key: str, arguments: dict[str, Any]) -> None:
        """Take a binding out."""
        del arguments
        self._ring.remove(destination, routing_key)

    def match(self, routing_key: str, message: MessageView) -> Iterable[Destination]:
        """Return the one destination; none when nothing is bound. What lacks the value is hashed as an empty text."""
        value: Any = routing_key
        if self._hash_by == BY_KEY:
            value = message.key
        elif self._hash_by == BY_HEADER:
            value = message.headers.get(self._hash_header or "")
        found = self._ring.find("" if value is None else str(value))
        return () if found is None else (found,)


def make_matcher(settings: ExchangeSettings) -> Matcher:
    """Return an empty matcher for an exchange of these settings."""
    match settings.type:
        case exchange_settings.DIRECT:
            return DirectMatcher()
        case exchange_settings.FANOUT:
            return FanoutMatcher()
        case exchange_settings.TOPIC:
            return TopicMatcher()
        case exchange_settings.HEADERS:
            return HeadersMatcher()
    return HashMatcher(settings.hash_by, settings.hash_header)


def _equal(wanted: Any, found: Any) -> bool:
    """Compare as AMQP does: nil asks for presence alone; numbers by value; a truth value is no number."""
    if wanted is None:
        return True
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    return bool(wanted == found)


def _label(destination: Destination, routing_key: str, arguments: dict[str, Any]) -> str:
    return repr((destination, routing_key, sorted(arguments.items(), key=lambda item: item[0])))
