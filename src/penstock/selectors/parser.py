"""From a selector's text to its value. lark is imported at the first selector: without any, nobody pays for it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from penstock.core.selectors import Selector
from penstock.selectors.errors import SelectorError
from penstock.selectors.grammar import EXPECTED, GRAMMAR, IMPLIED, RESERVED

if TYPE_CHECKING:
    from lark import Lark, Token, UnexpectedToken

SELECTOR_BYTES_MAX: Final = 4096
"""Of UTF-8. A person's selector has some hundred; this bounds what parsing one costs, and what every message costs
that is compared with it."""

_INSTEAD: Final = {
    "!": "not equal is written <>",
    "&": "both conditions are joined by AND",
    "|": "either condition is allowed by OR",
    "'": "this text has no ' at its end; a ' within a text is doubled",
    '"': 'this name has no " at its end; texts stand in single quotes',
    ";": "a selector is one condition, without an end mark",
    "%": "% stands within the pattern of a LIKE; there is no remainder",
    ".": 'a name with other characters than letters, digits, _ and $ stands in double quotes, as in "a.b"',
    "`": 'an unusual name stands in double quotes, as in "a-b"',
}
"""What is meant by characters that have no meaning here."""


def parse_selector(text: str) -> Selector:
    """Return what a selector means. Raises SelectorError, which points at the place."""
    from lark import UnexpectedCharacters, UnexpectedToken

    from penstock.selectors.building import Misplaced, checked_condition

    _check_text(text)
    try:
        return Selector(text, checked_condition(_parser().parse(text)).tree)  # type: ignore[arg-type] # builds Nodes
    except Misplaced as error:
        raise SelectorError(text, error.offset, error.reason) from error
    except UnexpectedCharacters as error:
        place: int = error.pos_in_stream  # type: ignore[assignment] # declared as None, set as int
        reason = _INSTEAD.get(text[place], f"the character {text[place]!r} has no meaning here")
        raise SelectorError(text, place, reason) from error
    except UnexpectedToken as error:
        raise _unexpected(text, error) from error


def _check_text(text: str) -> None:
    if not text.strip():
        raise SelectorError(text, 0, "the selector is empty")
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise SelectorError(text, error.start, "this is no valid Unicode character") from error
    if size_bytes > SELECTOR_BYTES_MAX:
        raise SelectorError(text, 0, f"the selector has {size_bytes} bytes, {SELECTOR_BYTES_MAX} at the most")


@cache
def _parser() -> Lark:
    from lark import Lark

    from penstock.selectors.building import Builder

    return Lark(
        GRAMMAR,
        parser="lalr",
        lexer="basic",
        maybe_placeholders=True,
        transformer=Builder(),
        lexer_callbacks={"NAME": _reserved},
    )


def _reserved(token: Token) -> Token:
    word = token.upper()
    return token.update(type=word) if word in RESERVED else token


def _unexpected(text: str, error: UnexpectedToken) -> SelectorError:
    token, accepts = error.token, set(error.accepts or error.expected)
    if token.type == "QUOTED" and "TEXT" in accepts:
        return SelectorError(text, _start(text, token), "a text stands in single quotes")
    if token.type == "NULL" and "NAME" in accepts:
        return SelectorError(text, _start(text, token), "nothing equals NULL: write IS NULL, or IS NOT NULL")
    found = "the end" if token.type == "$END" else f'"{token}"'
    reason = f"found {found}, expected {_words(accepts)}"
    if token.type in RESERVED and "NAME" in accepts:
        reason += f'; a header of that name stands in double quotes: "{token}"'
    return SelectorError(text, _start(text, token), reason)


def _start(text: str, token: Token) -> int:
    return len(text.rstrip()) if token.type == "$END" or token.start_pos is None else token.start_pos


def _words(accepts: set[str]) -> str:
    for terminal, covered in IMPLIED.items():
        if terminal in accepts:
            accepts -= covered
    words = [said for terminal, said in EXPECTED if terminal in accepts]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
