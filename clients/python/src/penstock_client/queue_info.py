"""What a queue is like now, as its broker tells it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from penstock_client.alarms import Alarm
from penstock_client.breakers import BreakerInfo
from penstock_client.durations import seconds_of
from penstock_client.queue_settings import DURATIONS


class QueueInfo(NamedTuple):
    """A queue as it is now. Counts are messages, those of several groups added up; ``upcoming`` are to be delivered
    later and in no group yet, ``scheduled`` failed and wait for their backoff, ``dead`` are in its dead-letter queue.
    ``oldest_age`` is how many seconds ago the oldest message entered it that some group still needs; None when there is
    none. ``bytes`` are those stored for it.
    """

    name: str
    id: int
    durable: bool
    ready: int
    upcoming: int
    scheduled: int
    leased: int
    held: int
    dead: int
    messages: int
    oldest_age: float | None
    bytes: int
    consumers: int
    groups: int
    paused: bool
    published: int
    acked: int
    redelivered: int
    dead_lettered: int
    start_offset: int
    next_offset: int
    lease: float
    max_failures: int
    backoff: tuple[float, float]
    dead_letter: str
    dedup_window: float
    dedup_count_max: int
    rate: float | None
    rate_burst: int | None
    max_messages: int
    max_bytes: int
    max_age: float
    overflow: str
    overflow_dead_letter: bool
    alarm_messages: int
    alarm_age: float
    alarms: tuple[Alarm, ...]
    breaker_failures: int
    breaker_wait: float
    breakers: tuple[BreakerInfo, ...]
    """Those of its groups that are not closed."""
    expires: float
    ephemeral: bool
    dropped: int
    dropped_newest: int
    stalled_producers: int
    ttl: float
    on_expired: str
    priority_max: int
    created_at: datetime
    raw: dict[str, Any]

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Return the info in a describe's reply."""
        known = {field: raw[f"{field}_ms"] / 1000 for field in DURATIONS} | {
            "name": raw["queue"],
            "backoff": (raw["backoff_min_ms"] / 1000, raw["backoff_max_ms"] / 1000),
            "rate": raw["rate_per_s"],
            "created_at": datetime.fromtimestamp(raw["created_at_ms"] / 1000, UTC),
            "alarms": tuple(map(Alarm.of, raw["alarms"])),
            "breakers": tuple(BreakerInfo.of(one, one["group"]) for one in raw["breakers"]),
            "oldest_age": seconds_of(raw["oldest_age_ms"]),
            "raw": raw,
        }
        return cls(**known, **{field: raw[field] for field in cls._fields if field not in known})
