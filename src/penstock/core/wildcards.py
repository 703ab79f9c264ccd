"""LIKE patterns (JMS 2.0, 3.8.1.1): ``%`` is any number of characters, ``_`` is one, an escape takes both literally.

A pattern is cut at its ``%`` into pieces. The first is anchored at the text's start, the last at its end, and those
between are searched for in order, each as far left as it goes: a later place never helps, so nothing is tried twice and
no pattern can make a match take more than time proportional to the text. Pieces without ``_`` are found by
``str.find``, those with one by shift-and: bit i of the state says that the last i + 1 characters match the piece's
first i + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Piece = tuple[str | None, ...]
"""Characters of a pattern between two ``%``; None is a ``_``."""

MANY: Final = "%"
ONE: Final = "_"


def split_pattern(pattern: str, escape: str = "") -> list[Piece]:
    """Return the pieces of a pattern: one without ``%``, one more for every ``%``.

    Raises ValueError with the index of an escape character that escapes nothing as its argument.
    """
    pieces: list[list[str | None]] = [[]]
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if escape and char == escape:
            index += 1
            if index == len(pattern) or pattern[index] not in (MANY, ONE, escape):
                raise ValueError(index - 1)
            pieces[-1].append(pattern[index])
        elif char == MANY:
            pieces.append([])
        else:
            pieces[-1].append(None if char == ONE else char)
        index += 1
    return [tuple(piece) for piece in pieces]


def searches(pieces: list[Piece]) -> bool:
    """True when a match has to search for a piece that holds ``_``, which is slower than ``str.find``."""
    return any(None in piece for piece in pieces[1:-1])


def compile_pattern(pattern: str, escape: str = "") -> Callable[[str], bool]:
    """Return what tells whether a whole text matches. Raises ValueError as ``split_pattern`` does."""
    pieces = split_pattern(pattern, escape)
    if len(pieces) == 1:
        return _whole(pieces[0])
    head, tail = _anchor(pieces[0]), _anchor(pieces[-1])
    head_length, tail_length = len(pieces[0]), len(pieces[-1])
    between = [_search(piece) for piece in pieces[1:-1] if piece]

    def matches(text: str) -> bool:
        end = len(text) - tail_length
        if end < head_length or not head(text, 0) or not tail(text, end):
            return False
        place = head_length
        for find in between:
            place = find(text, place, end)
            if place < 0:
                return False
        return True

    return matches


def _whole(piece: Piece) -> Callable[[str], bool]:
    length, matches = len(piece), _anchor(piece)
    return lambda text: len(text) == length and matches(text, 0)


def _anchor(piece: Piece) -> Callable[[str, int], bool]:
    """Return what tells whether the piece stands at a place where the text is long enough."""
    if None not in piece:
        literal = "".join(filter(None, piece))
        return lambda text, place: text.startswith(literal, place)
    fixed = [(index, char) for index, char in enumerate(piece) if char is not None]
    return lambda text, place: all(text[place + index] == char for index, char in fixed)


def _search(piece: Piece) -> Callable[[str, int, int], int]:
    """Return what finds the piece's first place in ``text[place:end]`` and returns where it ends, or -1."""
    length = len(piece)
    if None in piece:
        return _shift_and(piece)
    literal = "".join(filter(None, piece))

    def find(text: str, place: int, end: int) -> int:
        found = text.find(literal, place, end)
        return found + length if found >= 0 else -1

    return find


def _shift_and(piece: Piece) -> Callable[[str, int, int], int]:
    wild = sum(1 << index for index, char in enumerate(piece) if char is None)
    masks = {char: wild for char in piece if char is not None}
    for index, char in enumerate(piece):
        if char is not None:
            masks[char] |= 1 << index
    complete = 1 << len(piece) - 1

    def find(text: str, place: int, end: int) -> int:
        state = 0
        for index in range(place, end):
            state = (state << 1 | 1) & masks.get(text[index], wild)
            if state & complete:
                return index + 1
        return -1

    return find
