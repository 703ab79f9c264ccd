"""Selectors: conditions on a message's headers and properties, evaluated as JMS 2.0 (3.8.1) says.

The text is parsed at the edge (``penstock.selectors``); what arrives here is a tree of plain tuples, which a fact holds
as JSON. It is compiled once, into closures:

    ("or", condition, ...)  ("and", condition, ...)  ("not", condition)
    ("=" | "<>" | "<" | "<=" | ">" | ">=", operand, operand)
    ("between" | "not between", operand, low, high)
    ("in", name, text, ...)  ("like", name, pattern, escape or "")  ("is null", name)
    ("+" | "-" | "*" | "/", operand, operand)  ("negative", operand)
    ("value", text | int | float | bool)  ("name", header or property)  ("field", JMS header field)

A condition is true, false or unknown (None): a missing header is NULL, and what is asked of NULL is unknown. Values
that are not alike (a text and a number) are neither equal nor unequal: the comparison is false, not unknown.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from penstock.core.operands import NUMBERS, Fields, Operand, Operator, Tree, columns_of, compile_operand
from penstock.core.wildcards import compile_pattern

__all__ = ["Fields", "Predicate", "Selector", "Tree", "columns_of", "compile_selector", "selector_from_json"]

Truth = bool | None
Predicate = Callable[[Fields], bool]
_Condition = Callable[[Fields], Truth]


class Selector(NamedTuple):
    """A selector as its author wrote it, and what it means."""

    text: str
    tree: Tree


def selector_from_json(value: Any) -> Selector:
    """Return the selector that JSON made lists of."""
    text, tree = value
    return Selector(text, _frozen(tree))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def compile_selector(tree: Tree) -> Predicate:
    """Return what tells whether a message is selected: the condition is true, not false and not unknown."""
    condition = _condition(tree)
    return lambda fields: condition(fields) is True


def _condition(tree: Tree) -> _Condition:
    make = _CONDITIONS.get(tree[0])
    return make(*tree) if make is not None else _is_true(tree)


def _operand(tree: Tree) -> Operand:
    return _condition(tree) if tree[0] in _CONDITIONS else compile_operand(tree)


def _is_true(tree: Tree) -> _Condition:
    """A name or a literal where a condition is expected: the same as ``... = TRUE``."""
    return _compared_with(operator.eq, _EQUATED, _operand(tree), True)


def _any_of(_: str, *trees: Tree) -> _Condition:
    parts = tuple(map(_condition, trees))

    def any_of(fields: Fields) -> Truth:
        result: Truth = False
        for part in parts:
            truth = part(fields)
            if truth:
                return True
            if truth is None:
                result = None
        return result

    return any_of


def _all_of(_: str, *trees: Tree) -> _Condition:
    parts = tuple(map(_condition, trees))

    def all_of(fields: Fields) -> Truth:
        result: Truth = True
        for part in parts:
            truth = part(fields)
            if truth is False:
                return False
            if truth is None:
                result = None
        return result

    return all_of


def _not(_: str, tree: Tree) -> _Condition:
    condition = _condition(tree)

    def negated(fields: Fields) -> Truth:
        truth = condition(fields)
        return None if truth is None else not truth

    return negated


_EQUATED: Final = frozenset((int, float, str, bool))
"""Texts and booleans are compared by = and <> only; bytes, lists and maps not at all."""

_COMPARISONS: Final[dict[str, tuple[Operator, frozenset[type]]]] = {
    "=": (operator.eq, _EQUATED),
    "<>": (operator.ne, _EQUATED),
    "<": (operator.lt, NUMBERS),
    "<=": (operator.le, NUMBERS),
    ">": (operator.gt, NUMBERS),
    ">=": (operator.ge, NUMBERS),
}


def _comparison(sign: str, left: Tree, right: Tree) -> _Condition:
    holds, kinds = _COMPARISONS[sign]
    if right[0] == "value":
        return _compared_with(holds, kinds, _operand(left), right[1])
    first, second = _operand(left), _operand(right)
    return lambda fields: _compare(holds, kinds, first(fields), second(fields))


def _compare(holds: Operator, kinds: frozenset[type], left: Any, right: Any) -> Truth:
    if left is None or right is None:
        return None
    kind = type(left)
    if kind is type(right):
        return kind in kinds and bool(holds(left, right))
    if kind in NUMBERS and type(right) in NUMBERS:
        return bool(holds(float(left), float(right)))
    return False


def _compared_with(holds: Operator, kinds: frozenset[type], operand: Operand, value: Any) -> _Condition:
    """The common comparison, with a literal: what is known of its type is settled once."""
    kind = type(value)
    legal = kind in kinds
    number = kind in NUMBERS

    def compare(fields: Fields) -> Truth:
        left = operand(fields)
        if type(left) is kind:
            return legal and bool(holds(left, value))
        if left is None:
            return None
        return number and type(left) in NUMBERS and bool(holds(float(left), float(value)))

    return compare


def _between(tag: str, operand: Tree, low: Tree, high: Tree) -> _Condition:
    value, lowest, highest = _operand(operand), _operand(low), _operand(high)
    if tag == "between":

        def between(fields: Fields) -> Truth:
            at = value(fields)
            above = _compare(operator.ge, NUMBERS, at, lowest(fields))
            below = _compare(operator.le, NUMBERS, at, highest(fields))
            return False if above is False or below is False else above and below

        return between

    def outside(fields: Fields) -> Truth:
        at = value(fields)
        below = _compare(operator.lt, NUMBERS, at, lowest(fields))
        above = _compare(operator.gt, NUMBERS, at, highest(fields))
        return True if above or below else None if above is None or below is None else False

    return outside


def _in(_: str, name: Tree, *texts: str) -> _Condition:
    operand, wanted = _operand(name), frozenset(texts)

    def one_of(fields: Fields) -> Truth:
        value = operand(fields)
        return None if value is None else type(value) is str and value in wanted

    return one_of


def _like(_: str, name: Tree, pattern: str, escape: str) -> _Condition:
    operand, matches = _operand(name), compile_pattern(pattern, escape)

    def like(fields: Fields) -> Truth:
        value = operand(fields)
        return None if value is None else type(value) is str and matches(value)

    return like


def _is_null(_: str, name: Tree) -> _Condition:
    operand = _operand(name)
    return lambda fields: operand(fields) is None


_CONDITIONS: Final[dict[str, Callable[..., _Condition]]] = {
    "or": _any_of,
    "and": _all_of,
    "not": _not,
    "between": _between,
    "not between": _between,
    "in": _in,
    "like": _like,
    "is null": _is_null,
    **dict.fromkeys(_COMPARISONS, _comparison),
}
