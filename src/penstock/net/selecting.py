"""Selectors arrive as texts and leave here as values: what the engine gets of them needs no parser."""

from __future__ import annotations

from typing import Any

from penstock.core.values import Refusal
from penstock.selectors import SelectorError, parse_selector


def parse_where(arguments: dict[str, Any]) -> Refusal | None:
    """Replace ``where`` by the selector it means, in place, by None where it is "" or nil: those select everything (JMS
    2.0, 3.8.1).

    Returns why it is refused: bad-selector, with the place.
    """
    where = arguments["where"]
    if where is None or where == "":
        arguments["where"] = None
        return None
    if not isinstance(where, str):
        return Refusal(SelectorError.code, f"where must be a text, not {where!r}")
    try:
        arguments["where"] = parse_selector(where)
    except SelectorError as error:
        return Refusal(SelectorError.code, f"the selector is wrong: {error}")
    return None
