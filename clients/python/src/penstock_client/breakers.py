"""Breakers: how a group fares that stopped handing out because nearly everything failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple, Self


class BreakerInfo(NamedTuple):
    """A group's breaker as it is now: ``state`` is "closed", "open" (nothing is handed out ``until`` then) or "trial"
    (a run of ``size`` messages is). ``since`` is when it opened, None while it is closed.
    """

    group: str
    state: str
    since: datetime | None
    until: datetime | None
    size: int | None

    @classmethod
    def of(cls, raw: dict[str, Any], group: str) -> Self:
        """Return the breaker in a reply."""
        return cls(group, raw["state"], _time(raw["since_ms"]), _time(raw["until_ms"]), raw["size"])


def _time(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC)
