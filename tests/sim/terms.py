"""Times to live and priorities, message by message: what a block asks for, and what has to follow."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from penstock.core.operands import PRIORITY_DEFAULT
from penstock.core.values import QueueSettings
from penstock_client.wire import blocks

STEP_MS = 100
"""Due times are rounded up to this."""


class Asked(NamedTuple):
    """What a message asks for: 0 is no time to live."""

    ttl_ms: int = 0
    priority: int = PRIORITY_DEFAULT

    def over_ms(self, settings: QueueSettings, time_ms: int) -> int:
        """When its time is over, in a queue that it enters at this time; 0: never."""
        limits = [ttl_ms for ttl_ms in (self.ttl_ms, settings.ttl_ms) if ttl_ms]
        return -(-(time_ms + min(limits)) // STEP_MS) * STEP_MS if limits else 0


def asked_in(block: bytes, count: int, settings: QueueSettings) -> list[Asked]:
    """Return what each message of a block asks for; dead letters ask for nothing."""
    return [_asked(one or {}, settings) for one in blocks.decode_properties(block) or [None] * count]


def _asked(properties: dict[str, Any], settings: QueueSettings) -> Asked:
    if "dead" in properties:
        return Asked()
    priority = min(properties.get("priority", PRIORITY_DEFAULT), settings.priority_max)
    return Asked(properties.get("ttl_ms", 0), priority)


def draw_terms(rng: random.Random, odds: float, count: int) -> list[dict[str, Any] | None] | None:
    """Return what so many messages of one block ask for: mostly nothing, rarely what makes no sense."""
    if rng.random() >= odds:
        return None
    drawn: list[dict[str, Any] | None] = []
    for _ in range(count):
        ttl = {"ttl_ms": rng.choice([1, 100, 700, 5000, 60_000, 864_000_000])} if rng.random() < 0.4 else {}
        priority = {"priority": rng.choice([0, 3, 4, 5, 9, 9, 200])} if rng.random() < 0.6 else {}
        drawn.append({**ttl, **priority} or None)
    if rng.random() < 0.02:
        drawn[-1] = rng.choice([{"ttl_ms": 0}, {"priority": 256}])
    return drawn
