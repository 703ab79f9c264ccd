"""The rules of JMS 2.0 (3.8.1) as a walk over the tree: slow, and as close to the text of the standard as it gets."""

import math
import re
from typing import Any

from penstock.core.operands import LONG_MAX, LONG_MIN, Fields, Tree

FALSE, UNKNOWN, TRUE = 0, 1, 2


def selects(tree: Tree, fields: Fields) -> bool:
    return truth(tree, fields) == TRUE


def truth(tree: Tree, fields: Fields) -> int:
    tag, *parts = tree
    match tag:
        case "or":
            return max(truth(part, fields) for part in parts)
        case "and":
            return min(truth(part, fields) for part in parts)
        case "not":
            return TRUE - truth(parts[0], fields)
        case "between":
            value, low, high = parts
            return truth(("and", (">=", value, low), ("<=", value, high)), fields)
        case "not between":
            value, low, high = parts
            return truth(("or", ("<", value, low), (">", value, high)), fields)
        case "in":
            return truth(("or", *(("=", parts[0], ("value", text)) for text in parts[1:])), fields)
        case "like":
            return like(value_of(parts[0], fields), parts[1], parts[2])
        case "is null":
            return TRUE if value_of(parts[0], fields) is None else FALSE
        case "=" | "<>" | "<" | "<=" | ">" | ">=":
            return compared(tag, value_of(parts[0], fields), value_of(parts[1], fields))
    return compared("=", value_of(tree, fields), True)


def compared(sign: str, left: Any, right: Any) -> int:
    if left is None or right is None:
        return UNKNOWN
    numbers = is_number(left) and is_number(right)
    alike = numbers or (type(left) is type(right) and type(left) in (str, bool) and sign in ("=", "<>"))
    if not alike:
        return FALSE
    if numbers and float in (type(left), type(right)):
        left, right = float(left), float(right)
    results = {"=": left == right, "<>": left != right}
    if numbers:
        results |= {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}
    return TRUE if results[sign] else FALSE


def like(value: Any, pattern: str, escape: str) -> int:
    if value is None:
        return UNKNOWN
    expression, rest = "", iter(pattern)
    for char in rest:
        if char == escape:
            expression += re.escape(next(rest))
        else:
            expression += {"%": ".*", "_": "."}.get(char, re.escape(char))
    return TRUE if isinstance(value, str) and re.fullmatch(expression, value, re.DOTALL) else FALSE


def is_number(value: Any) -> bool:
    return type(value) in (int, float)


def value_of(tree: Tree, fields: Fields) -> Any:
    tag, *parts = tree
    match tag:
        case "value":
            return parts[0]
        case "name":
            both = {**fields.properties, **{name: v for name, v in fields.headers.items() if v is not None}}
            return both.get(parts[0], fields.key if parts[0] == "key" else None)
        case "field":
            return {"JMSXGroupID": fields.key, "JMSXDeliveryCount": fields.attempt}[parts[0]]
        case "negative":
            return result(0, "-", value_of(parts[0], fields))
        case "+" | "-" | "*" | "/":
            return result(value_of(parts[0], fields), tag, value_of(parts[1], fields))
    return {TRUE: True, FALSE: False, UNKNOWN: None}[truth(tree, fields)]


def result(left: Any, sign: str, right: Any) -> Any:
    if not is_number(left) or not is_number(right) or (sign == "/" and right == 0):
        return None
    exact = type(left) is int and type(right) is int
    if not exact:
        left, right = float(left), float(right)
    match sign:
        case "+":
            found = left + right
        case "-":
            found = left - right
        case "*":
            found = left * right
        case _ if exact:
            found = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        case _:
            found = left / right
    if exact:
        return found if LONG_MIN <= found <= LONG_MAX else None
    return found if math.isfinite(found) else None
