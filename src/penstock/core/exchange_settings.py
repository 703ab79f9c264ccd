"""What an exchange is declared with, what a binding may say, and why either is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Final

from penstock.core.hashring import WEIGHT_MAX
from penstock.core.names import local_name
from penstock.core.topics import ANY_WORDS, ONE_WORD, words_of
from penstock.core.values import NAME_BYTES_MAX, Refused, check_name

DIRECT: Final = "direct"
FANOUT: Final = "fanout"
TOPIC: Final = "topic"
HEADERS: Final = "headers"
CONSISTENT_HASH: Final = "consistent-hash"
TYPES: Final = (DIRECT, FANOUT, TOPIC, HEADERS, CONSISTENT_HASH)

BY_ROUTING_KEY: Final = "routing-key"
BY_KEY: Final = "key"
BY_HEADER: Final = "header"

RESERVED_PREFIX: Final = "amq."
"""AMQP 0-9-1 keeps these names for itself (exchange.declare, rule "reserved")."""
ARGUMENTS_MAX: Final = 64
"""Headers that one binding compares: each is looked at for every message."""
ARGUMENT_BYTES_MAX: Final = 1024
"""A header's name, and its value where that is a text."""
_X: Final = "x-"
"""Arguments that begin so are about the binding and are not compared (AMQP 0-9-1, 3.1.3.4)."""
MATCH: Final = "x-match"


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """What an exchange was declared with.

    ``alternate`` names the exchange that gets what no binding of this one takes. ``hash_by`` is what a consistent-hash
    exchange hashes: ``routing-key``, the message's ``key``, or the ``header`` that ``hash_header`` names.
    """

    type: str = DIRECT
    alternate: str | None = None
    hash_by: str = BY_ROUTING_KEY
    hash_header: str | None = None

    @property
    def by_content(self) -> bool:
        """True when where a message goes depends on more than its routing key."""
        return self.type == HEADERS or (self.type == CONSISTENT_HASH and self.hash_by != BY_ROUTING_KEY)

    def as_map(self) -> dict[str, Any]:
        """Every setting by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def differences(self, other: ExchangeSettings) -> str:
        """Name each setting that differs, with both values; empty when equal."""
        theirs = other.as_map()
        return ", ".join(
            f"{name} is {value!r}, not {theirs[name]!r}"
            for name, value in self.as_map().items()
            if value != theirs[name]
        )


def parse_exchange_settings(arguments: dict[str, Any]) -> ExchangeSettings:
    """Build settings from a declare's arguments; raises Refused (bad-setting, bad-name) naming the first wrong one."""
    known = [field.name for field in fields(ExchangeSettings)]
    for name in arguments:
        if name not in known:
            raise Refused("bad-setting", f"an exchange has no setting {name!r}; there are {', '.join(sorted(known))}")
    settings = ExchangeSettings(**arguments)
    _check_choice("type", settings.type, TYPES)
    _check_choice("hash_by", settings.hash_by, (BY_ROUTING_KEY, BY_KEY, BY_HEADER))
    if settings.alternate is not None:
        check_exchange_name(settings.alternate)
    _check_hash(settings)
    return settings


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise Refused("bad-setting", f"{name} must be one of {', '.join(choices)}, not {value!r}")


def _check_hash(settings: ExchangeSettings) -> None:
    if settings.type != CONSISTENT_HASH and settings.hash_by != BY_ROUTING_KEY:
        raise Refused("bad-setting", f"hash_by is for consistent-hash exchanges; this one is {settings.type}")
    header = settings.hash_header
    if (header is not None) != (settings.hash_by == BY_HEADER):
        raise Refused("bad-setting", "hash_header names the header to hash, and is given with hash_by 'header' alone")
    if header is not None and not _is_text(header):
        raise Refused("bad-setting", f"hash_header must be a text of 1 to {ARGUMENT_BYTES_MAX} bytes, not {header!r}")


def check_exchange_name(name: Any) -> str:
    """Return a name that an exchange may have, or raise Refused (bad-name)."""
    if name == "":
        raise Refused("bad-name", "the default exchange is there by itself: it is not declared, bound or deleted")
    if local_name(check_name(name)).startswith(RESERVED_PREFIX):
        raise Refused("bad-name", f"names that begin with {RESERVED_PREFIX!r} are reserved: {name!r}")
    return str(name)


def check_routing_key(routing_key: Any) -> str:
    """Return a legal routing key, which may be empty, or raise Refused (bad-binding)."""
    try:
        size_bytes = len(routing_key.encode()) if isinstance(routing_key, str) else -1
    except UnicodeEncodeError:
        size_bytes = -1
    if not 0 <= size_bytes <= NAME_BYTES_MAX:
        raise Refused(
            "bad-binding", f"a routing key is a text of at most {NAME_BYTES_MAX} bytes of UTF-8, not {routing_key!r}"
        )
    return str(routing_key)


def check_binding(settings: ExchangeSettings, routing_key: Any, arguments: Any) -> str:
    """Check a binding for this type of exchange; return its arguments as canonical JSON.

    Raises Refused (bad-binding) with the place and the reason.
    """
    key = check_routing_key(routing_key)
    if not isinstance(arguments, dict):
        raise Refused("bad-binding", f"arguments must be a map, not {arguments!r}")
    if settings.type == HEADERS:
        return _check_headers(arguments)
    if arguments:
        names = ", ".join(repr(name) for name in arguments)
        raise Refused("bad-binding", f"arguments {names}: a binding of a {settings.type} exchange has none")
    if settings.type == TOPIC:
        _check_pattern(key)
    elif settings.type == CONSISTENT_HASH and not (key.isascii() and key.isdigit() and 1 <= int(key) <= WEIGHT_MAX):
        raise Refused(
            "bad-binding",
            f"routing key {key!r}: a consistent-hash binding has its weight there, a number from 1 to {WEIGHT_MAX}",
        )
    return "{}"


def _check_pattern(pattern: str) -> None:
    """Refuse ``new*``: it looks like a prefix and would match nothing but itself."""
    for place, word in enumerate(words_of(pattern), 1):
        for wildcard in (ONE_WORD, ANY_WORDS):
            if wildcard in word and word != wildcard:
                raise Refused(
                    "bad-binding",
                    f"routing key {pattern!r}, word {place} ({word!r}): {wildcard!r} stands for whole words and must be"
                    " alone between dots",
                )


def _check_headers(arguments: dict[Any, Any]) -> str:
    if len(arguments) > ARGUMENTS_MAX:
        raise Refused("bad-binding", f"{len(arguments)} arguments; a binding has at most {ARGUMENTS_MAX}")
    match = arguments.get(MATCH, "all")
    if match not in ("all", "any"):
        raise Refused("bad-binding", f"argument {MATCH!r} must be 'all' or 'any', not {match!r}")
    for name, value in arguments.items():
        _check_header(name, value)
    if match == "any" and not any(not name.startswith(_X) for name in arguments):
        raise Refused("bad-binding", f"argument {MATCH!r} is 'any', and there is no header to compare")
    return json.dumps({**arguments, MATCH: match}, sort_keys=True)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value.encode("utf-8", "replace")) <= ARGUMENT_BYTES_MAX


def _check_header(name: Any, value: Any) -> None:
    if not _is_text(name):
        raise Refused("bad-binding", f"argument {name!r}: a header's name is a text of 1 to {ARGUMENT_BYTES_MAX} bytes")
    if isinstance(value, str):
        if len(value.encode("utf-8", "replace")) > ARGUMENT_BYTES_MAX:
            raise Refused("bad-binding", f"argument {name!r}: a text of more than {ARGUMENT_BYTES_MAX} bytes")
    elif not (value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and isfinite(value))):
        raise Refused("bad-binding", f"argument {name!r}: {value!r} is neither text, number, truth value nor nil")


def compared_headers(arguments: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the headers that a binding compares."""
    return [(name, value) for name, value in arguments.items() if not name.startswith(_X)]
