"""When a queue was used last, as far as it was looked at. How that is decided is in ``lifetimes``."""

from __future__ import annotations


class Usage:
    """What a queue that expires was like at the last look; ``since_ms`` is the time of the last that found it used."""

    __slots__ = ("due_ms", "seen", "since_ms", "touches")

    def __init__(self) -> None:
        self.due_ms = 0
        """The time of the next look, ms since 1970."""
        self.since_ms = 0
        self.touches = 0
        """How often it was declared again, or left by a consumer."""
        self.seen: tuple[int, int, int] | None = None
