"""Operands of selectors: literals, what they name of a message, and arithmetic on it (JMS 2.0, 3.8.1.1 and 3.8.1.2).

Numbers follow Java's promotion: two exact ones stay exact (division cuts towards zero), otherwise both become floats.
Where Java would wrap a long, divide by zero or give infinity, and where an operand is no number, the result is NULL.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, NamedTuple

Tree = tuple[Any, ...]
"""Part of a selector, as ``penstock.core.selectors`` lists them."""

LONG_MIN: Final = -(1 << 63)
LONG_MAX: Final = (1 << 63) - 1
"""Exact numbers of JMS are Java's long."""
PRIORITY_DEFAULT: Final = 4
"""JMSPriority of a message without the property ``priority`` (JMS 2.0, 3.4.9)."""
NUMBERS: Final = frozenset((int, float))
"""Types that are compared by size and calculated with; ``bool`` is another type."""

HEADERS: Final = "headers"
PROPERTIES: Final = "properties"
KEYS: Final = "keys"
"""Columns of a block that a selector may read."""


class Fields(NamedTuple):
    """One message as a selector sees it. ``attempt`` is None where nobody was handed the message yet."""

    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    key: str | None = None
    attempt: int | None = None
    published_at_ms: int | None = None
    persistent: bool = True


Operand = Callable[[Fields], Any]
Operator = Callable[[Any, Any], Any]


def compile_operand(tree: Tree) -> Operand:
    """Return what reads or calculates the operand's value; None where it is NULL."""
    return _OPERANDS[tree[0]](*tree)


def columns_of(tree: Tree) -> frozenset[str]:
    """Return which columns of a block the operands in a tree may look at."""
    tag = tree[0]
    if tag == "name":
        return frozenset((HEADERS, PROPERTIES, KEYS) if tree[1] == "key" else (HEADERS, PROPERTIES))
    if tag == "field":
        return _FIELDS[tree[1]][0]
    found: frozenset[str] = frozenset()
    for part in tree[1:]:
        if isinstance(part, tuple):
            found |= columns_of(part)
    return found


def _value(_: str, value: Any) -> Operand:
    return lambda _fields: value


def _name(_: str, name: str) -> Operand:
    """A header of that name, else a property; ``key`` also stands for the message's key."""

    def read(fields: Fields) -> Any:
        value = fields[0].get(name)
        return value if value is not None else fields[1].get(name)

    def read_key(fields: Fields) -> Any:
        value = read(fields)
        return value if value is not None else fields.key

    return read_key if name == "key" else read


def _field(_: str, name: str) -> Operand:
    return _FIELDS[name][1]


def _property(name: str) -> tuple[frozenset[str], Operand]:
    return frozenset((PROPERTIES,)), lambda fields: fields.properties.get(name)


_NO_COLUMN: Final[frozenset[str]] = frozenset()

_FIELDS: Final[dict[str, tuple[frozenset[str], Operand]]] = {
    "JMSCorrelationID": _property("correlation_id"),
    "JMSDeliveryMode": (_NO_COLUMN, lambda fields: "PERSISTENT" if fields.persistent else "NON_PERSISTENT"),
    "JMSMessageID": _property("message_id"),
    "JMSPriority": (frozenset((PROPERTIES,)), lambda fields: fields.properties.get("priority", PRIORITY_DEFAULT)),
    "JMSTimestamp": (_NO_COLUMN, lambda fields: fields.published_at_ms),
    "JMSType": _property("type"),
    "JMSXDeliveryCount": (_NO_COLUMN, lambda fields: fields.attempt),
    "JMSXGroupID": (frozenset((KEYS,)), lambda fields: fields.key),
}
"""JMS header fields: the column each is read from, and how."""

FIELD_NAMES: Final = frozenset(_FIELDS)


def _negative(_: str, tree: Tree) -> Operand:
    operand = compile_operand(tree)
    return lambda fields: _calculate(operator.sub, 0, operand(fields))


def _arithmetic(sign: str, left: Tree, right: Tree) -> Operand:
    calculate = _ARITHMETIC[sign]
    first, second = compile_operand(left), compile_operand(right)
    return lambda fields: _calculate(calculate, first(fields), second(fields))


def _calculate(calculate: Operator, left: Any, right: Any) -> int | float | None:
    """Return the result of numeric promotion, None where there is none."""
    if type(left) not in NUMBERS or type(right) not in NUMBERS:
        return None
    try:
        if type(left) is type(right) is int:
            exact: int = calculate(left, right)
            return exact if LONG_MIN <= exact <= LONG_MAX else None
        result: float = calculate(float(left), float(right))
    except (ZeroDivisionError, OverflowError):
        return None
    return result if isfinite(result) else None


def _divide(left: Any, right: Any) -> int | float:
    if type(left) is float:
        return left / float(right)
    quotient: int = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_ARITHMETIC: Final[dict[str, Operator]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
}

_OPERANDS: Final[dict[str, Callable[..., Operand]]] = {
    "value": _value,
    "name": _name,
    "field": _field,
    "negative": _negative,
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
}
