"""Writes a tree as a selector again, with no more parentheses than the grammar needs, and in the tests only."""

from typing import Any

from penstock.core.operands import Tree
from penstock.selectors.grammar import RESERVED

_LEVELS = {
    "or": 0,
    "and": 1,
    "not": 2,
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "negative": 6,
    "value": 7,
    "name": 7,
    "field": 7,
}
_PREDICATE = 3


def printed(tree: Tree, least: int = 0) -> str:
    """Return the text of a tree; in parentheses if it binds less than ``least``."""
    level = _LEVELS.get(tree[0], _PREDICATE)
    text = _form(tree)
    return text if level >= least else f"({text})"


def _form(tree: Tree) -> str:
    tag, *parts = tree
    match tag:
        case "or" | "and":
            return f" {tag.upper()} ".join(printed(part, _LEVELS[tag] + 1) for part in parts)
        case "not":
            return f"NOT {printed(parts[0], 2)}"
        case "between" | "not between":
            value, low, high = (printed(part, 4) for part in parts)
            return f"{value} {tag.upper()} {low} AND {high}"
        case "in":
            return f"{_form(parts[0])} IN ({', '.join(map(_text, parts[1:]))})"
        case "like":
            escape = f" ESCAPE {_text(parts[2])}" if parts[2] else ""
            return f"{_form(parts[0])} LIKE {_text(parts[1])}{escape}"
        case "is null":
            return f"{_form(parts[0])} IS NULL"
        case "negative":
            return f"-({printed(parts[0])})" if parts[0][0] != "name" else f"- {_form(parts[0])}"
        case "value":
            return _literal(parts[0])
        case "name":
            plain = parts[0].isidentifier() and parts[0].upper() not in RESERVED and not parts[0].startswith("JMS")
            return str(parts[0]) if plain else '"' + parts[0].replace('"', '""') + '"'
        case "field":
            return str(parts[0])
        case _:
            level = _LEVELS.get(tag, _PREDICATE)
            return f"{printed(parts[0], max(level, 4))} {tag} {printed(parts[1], max(level, 3) + 1)}"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return _text(value) if isinstance(value, str) else repr(value)
