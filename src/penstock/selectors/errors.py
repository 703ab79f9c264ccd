"""Where a selector is wrong, and why."""

from __future__ import annotations

from typing import Final

_SHOWN_BEFORE: Final = 60
_SHOWN_AFTER: Final = 20
"""Characters of the wrong line around the place: the whole of it fits a terminal."""
_CUT: Final = "..."


class SelectorError(ValueError):
    """A selector that means nothing. ``offset`` counts characters from 0, ``line`` and ``column`` from 1."""

    code: Final = "bad-selector"

    def __init__(self, text: str, offset: int, reason: str) -> None:
        self.text = text
        self.offset = min(offset, len(text))
        self.reason = reason
        start = text.rfind("\n", 0, self.offset) + 1
        self.line = text.count("\n", 0, start) + 1
        self.column = self.offset - start + 1
        super().__init__(f"{reason} ({self.place})\n{self.pointer}")

    @property
    def place(self) -> str:
        """Line and column in words; the line only where there are several."""
        several = "\n" in self.text
        return f"line {self.line}, column {self.column}" if several else f"column {self.column}"

    @property
    def pointer(self) -> str:
        """Two lines: the line of the selector, and below it a ``^`` at the place."""
        line = "".join(char if char.isprintable() else " " for char in self.text.split("\n")[self.line - 1])
        place = self.column - 1
        first, end = max(0, place - _SHOWN_BEFORE), place + _SHOWN_AFTER
        before = _CUT if first else ""
        after = _CUT if end < len(line) else ""
        return f"  {before}{line[first:end]}{after}\n  {' ' * (len(before) + place - first)}^"
