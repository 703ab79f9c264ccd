"""Alarms that the broker has raised: what an operator should know of before somebody complains."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple, Self


class Alarm(NamedTuple):
    """Something is at its limit: ``what`` is "messages" or "age_ms" (of its oldest message) of a queue, or "breaker":
    ``value`` attempts failed in this group, and it hands nothing out but trial runs.
    """

    queue: str
    group: str | None
    what: str
    value: int
    limit: int
    since: datetime

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Return the alarm in a reply."""
        since = datetime.fromtimestamp(raw["since_ms"] / 1000, UTC)
        return cls(raw["queue"], raw["group"], raw["what"], raw["value"], raw["limit"], since)
