"""Builds a selector's tree as the parser recognises its parts, and refuses what the grammar alone lets through.

A node carries what is known of its value (``kind``), so that a part that could never be right is refused where it
stands. A header's type is known only when there is a message: a name may be anything.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final, NamedTuple

from lark import Token, Transformer, v_args

from penstock.core.operands import FIELD_NAMES, LONG_MAX, Tree
from penstock.core.wildcards import searches, split_pattern
from penstock.selectors.grammar import RESERVED

DEPTH_MAX: Final = 64
"""Operators within operators. Compiling and evaluating call themselves for each level; nobody reads more than a few."""
SEARCHES_MAX: Final = 8
"""LIKE patterns that have to look for something with ``_`` in it between two ``%``: each costs about 10 ms on the
longest header (128 KiB)."""

CONDITION: Final = "a condition"
NUMBER: Final = "a number"
TEXT: Final = "a text"
ANYTHING: Final = "anything"

_NOT_IN_SELECTORS: Final = frozenset({"JMSDestination", "JMSExpiration", "JMSRedelivered", "JMSReplyTo"})
"""Header fields that JMS 2.0 (3.8.1.1) keeps out of selectors."""


class Misplaced(Exception):
    """A part that cannot stand where it does: ``offset`` in characters, and why."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class Node(NamedTuple):
    """A part of the selector: its tree, what it yields, where it starts, how deep it goes, how often it searches."""

    tree: Tree
    kind: str
    start: int
    depth: int = 0
    searches: int = 0
    quoted: bool = False


@v_args(inline=True)
class Builder(Transformer[Token, Node]):
    """Called by the parser for each part it recognises, inner ones first: the methods' names are the grammar's.

    Raises Misplaced.
    """

    # -- conditions ----------------------------------------------------------------------------------------------------

    def any_of(self, *parts: Any) -> Node:
        """``a OR b OR ...``."""
        return _joined("or", parts)

    def all_of(self, *parts: Any) -> Node:
        """``a AND b AND ...``."""
        return _joined("and", parts)

    def negated(self, word: Token, part: Node) -> Node:
        """``NOT a``."""
        return _node("not", _start(word), [checked_condition(part)])

    def comparison(self, left: Node, sign: Token, right: Node) -> Node:
        """``a = b`` and the others."""
        if right.quoted and left.kind == ANYTHING and not left.quoted:
            raise Misplaced(
                right.start, 'a text stands in single quotes; a header named in "..." is compared from the left'
            )
        _check_alike(left, sign, right)
        return _node(str(sign), left.start, [_operand(left), _operand(right)])

    def between(self, value: Node, _word: Token, low: Node, _and: Token, high: Node) -> Node:
        """``a BETWEEN b AND c``."""
        return _node("between", value.start, [_number(part) for part in (value, low, high)])

    def not_between(self, value: Node, _not: Token, word: Token, low: Node, word_and: Token, high: Node) -> Node:
        """``a NOT BETWEEN b AND c``."""
        return self.between(value, word, low, word_and, high)._replace(
            tree=("not between", *(part.tree for part in (value, low, high)))
        )

    def one_of(self, name: Node, word: Token, *texts: Token) -> Node:
        """``a IN ('b', ...)``."""
        _check_name(name, word)
        return Node(("in", name.tree, *map(_unquoted, texts)), CONDITION, name.start, 1)

    def not_one_of(self, name: Node, _not: Token, word: Token, *texts: Token) -> Node:
        """``a NOT IN ('b', ...)``."""
        return _opposite(self.one_of(name, word, *texts))

    def like(self, name: Node, word: Token, pattern: Token, _escape: Token | None, escape: Token | None) -> Node:
        """``a LIKE 'b%'``."""
        _check_name(name, word)
        character = "" if escape is None else _unquoted(escape)
        if escape is not None and len(character) != 1:
            raise Misplaced(_start(escape), "an escape is one character")
        wanted = _unquoted(pattern)
        try:
            pieces = split_pattern(wanted, character)
        except ValueError as error:
            place = _start(pattern) + 1 + error.args[0] + wanted.count("'", 0, error.args[0])
            raise Misplaced(place, f"the escape {character} stands before %, _ or itself only") from error
        return Node(("like", name.tree, wanted, character), CONDITION, name.start, 1, searches(pieces))

    def not_like(
        self, name: Node, _not: Token, word: Token, pattern: Token, mark: Token | None, escape: Token | None
    ) -> Node:
        """``a NOT LIKE 'b%'``."""
        return _opposite(self.like(name, word, pattern, mark, escape))

    def is_null(self, name: Node, word: Token, _null: Token) -> Node:
        """``a IS NULL``."""
        _check_name(name, word)
        return Node(("is null", name.tree), CONDITION, name.start, 1)

    def is_not_null(self, name: Node, word: Token, _not: Token, null: Token) -> Node:
        """``a IS NOT NULL``."""
        return _opposite(self.is_null(name, word, null))

    # -- operands ------------------------------------------------------------------------------------------------------

    def arithmetic(self, left: Node, sign: Token, right: Node) -> Node:
        """``a + b`` and the others."""
        return _node(str(sign), left.start, [_number(left), _number(right)], NUMBER)

    def positive(self, _sign: Token, part: Node) -> Node:
        """``+a``: the number itself, and a name is held to be one."""
        if part.tree[0] == "value":
            return _number(part)
        return _node("+", part.start, [Node(("value", 0), NUMBER, part.start), _number(part)], NUMBER)

    def negative(self, sign: Token, part: Node) -> Node:
        """``-a``; a negative literal is one value."""
        if part.tree[0] == "value" and part.kind == NUMBER:
            return Node(("value", -part.tree[1]), NUMBER, _start(sign))
        return _node("negative", _start(sign), [_number(part)], NUMBER)

    def name(self, token: Token) -> Node:
        """A header, a property or a JMS header field."""
        if token in _NOT_IN_SELECTORS:
            raise Misplaced(_start(token), f"{token} may not stand in a selector (JMS 2.0, 3.8.1.1)")
        tag = "field" if token in FIELD_NAMES else "name"
        return Node((tag, str(token)), ANYTHING, _start(token))

    def quoted_name(self, token: Token) -> Node:
        """A header or property whose name is no identifier."""
        name = token[1:-1].replace('""', '"')
        if not name:
            raise Misplaced(_start(token), "a name in double quotes is empty; texts stand in single quotes")
        if name.isidentifier() and name.upper() not in RESERVED and name not in FIELD_NAMES:
            raise Misplaced(
                _start(token),
                f"a text stands in single quotes: '{name}'; a header of that name needs no quotes: {name}",
            )
        return Node(("name", name), ANYTHING, _start(token), quoted=True)

    def text(self, token: Token) -> Node:
        """``'text'``."""
        return Node(("value", _unquoted(token)), TEXT, _start(token))

    def boolean(self, token: Token) -> Node:
        """``TRUE`` or ``FALSE``."""
        return Node(("value", token.type == "TRUE"), CONDITION, _start(token))

    def number(self, token: Token) -> Node:
        """An exact or approximate number in Java's syntax; octal with a leading 0, hexadecimal with 0x."""
        try:
            value = _parsed_number(token)
        except ValueError as error:
            raise Misplaced(_start(token), f"{token} is an octal number (it starts with 0) with an 8 or 9") from error
        if isinstance(value, float) and not isfinite(value):
            raise Misplaced(_start(token), f"{token} is too large for a double")
        if isinstance(value, int) and value > LONG_MAX + 1:
            raise Misplaced(_start(token), f"{token} is too large for a long, {LONG_MAX} at the most")
        return Node(("value", value), NUMBER, _start(token))


def checked_condition(part: Node) -> Node:
    """Return the part if it can be true or false. Raises Misplaced."""
    if part.kind in (CONDITION, ANYTHING):
        return part
    raise Misplaced(part.start, f"a condition is expected here, this is {part.kind}")


def _joined(tag: str, parts: tuple[Any, ...]) -> Node:
    return _node(tag, parts[0].start, [checked_condition(part) for part in parts[::2]])


def _opposite(part: Node) -> Node:
    return _node("not", part.start, [part])


def _node(tag: str, start: int, parts: list[Node], kind: str = CONDITION) -> Node:
    depth = 1 + max(part.depth for part in parts)
    if depth > DEPTH_MAX:
        raise Misplaced(start, f"more than {DEPTH_MAX} operators within one another")
    searches_all = sum(part.searches for part in parts)
    if searches_all > SEARCHES_MAX:
        raise Misplaced(start, f"more than {SEARCHES_MAX} LIKE patterns with _ between two %")
    return Node((tag, *(part.tree for part in parts)), kind, start, depth, searches_all)


def _operand(part: Node) -> Node:
    if part.tree == ("value", LONG_MAX + 1):  # legal with a minus before it, as in Java
        raise Misplaced(part.start, f"{LONG_MAX + 1} is too large for a long, {LONG_MAX} at the most")
    return part


def _number(part: Node) -> Node:
    if part.kind in (NUMBER, ANYTHING):
        return _operand(part)
    raise Misplaced(part.start, f"a number is expected here, this is {part.kind}")


def _check_alike(left: Node, sign: Token, right: Node) -> None:
    kinds = {left.kind, right.kind} - {ANYTHING}
    if len(kinds) > 1:
        raise Misplaced(_start(sign), f"{left.kind} is never compared with {right.kind}")
    if kinds and kinds != {NUMBER} and sign not in ("=", "<>"):
        raise Misplaced(_start(sign), f"{kinds.pop()} is compared by = and <> only (JMS 2.0, 3.8.1.2)")


def _check_name(part: Node, word: Token) -> None:
    if part.tree[0] not in ("name", "field"):
        raise Misplaced(part.start, f"before {word.upper()} stands the name of a header or property")


def _start(token: Token) -> int:
    assert token.start_pos is not None, "the lexer tells where its tokens are"
    return token.start_pos


def _unquoted(token: Token) -> str:
    return token[1:-1].replace("''", "'")


def _parsed_number(token: Token) -> int | float:
    digits = token.lower()
    if digits.startswith("0x"):
        return int(digits.removesuffix("l"), 16)
    if digits[-1] in "fd" or "." in digits or "e" in digits:
        return float(digits.rstrip("fdl"))
    digits = digits.removesuffix("l")
    return int(digits, 8 if digits.startswith("0") else 10)
