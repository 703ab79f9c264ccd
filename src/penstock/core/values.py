"""The small values that every part of core speaks in."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, Self

from penstock.core.breaker import BREAKER_FAILURES_MAX, BREAKER_WAIT_MS_MAX
from penstock.core.names import local_name
from penstock.core.rates import BURST_MAX, RATE_PER_S_MAX, RATE_PER_S_MIN
from penstock.core.selectors import Selector, selector_from_json

# Durability levels of a publish, and the names of what a confirm promises.
SYNCED: Final = 0
WRITTEN: Final = 1
MEMORY: Final = 2

# Outcomes of a published block; with the last two the confirm's offset is a schedule id.
STORED: Final = 0
DUPLICATE: Final = 1
REFUSED: Final = 2
SCHEDULED: Final = 3
DUPLICATE_SCHEDULED: Final = 4
DROPPED_NEWEST: Final = 5

# Outcomes of a settle; EXTEND and STARTED leave the delivery leased.
ACK: Final = 1
NACK: Final = 2
RELEASE: Final = 3
REJECT: Final = 4
EXTEND: Final = 5
STARTED: Final = 6
REQUEUE: Final = 7

# Why messages are done for a group that never handed them to anyone (SEMANTICS 23).
PURGED: Final = 0
FILTERED: Final = 1
EXPIRED: Final = 2
DROPPED: Final = 3
CANCELLED: Final = 4
ELSEWHERE: Final = 5
TRANSFERRED: Final = 6
DISCARD_REASONS: Final = ("purged", "filtered", "expired", "dropped", "cancelled", "elsewhere", "transferred")
"""Their names, by number. ELSEWHERE: appended for another group alone (a redrive). TRANSFERRED: moved to another queue,
redriven or replaced, by an operator."""

DROP: Final = "drop"
DEAD_LETTER: Final = "dead-letter"
EXPIRED_FATES: Final = (DROP, DEAD_LETTER)
"""What becomes of expired messages: counted and gone, or moved to the dead letters."""

# Why a message is on its way to the dead letters; 0 when it is not.
DYING_FAILED: Final = 1
DYING_EXPIRED: Final = 2

PRIORITY_HIGHEST: Final = 255
"""AMQP 0-9-1 has an octet for it. JMS 2.0 has 0 to 9, and so does a queue that says nothing."""

MODES: Final = ("shared", "keyed", "single")
"""How a group hands out: to competing consumers; to competing consumers, one message of a key at a time and in order;
to one active consumer, all in order."""

NO_DELAY: Final = 0xFFFFFFFF
OFFSET_UNKNOWN: Final = 0xFFFFFFFFFFFFFFFF

NAME_BYTES_MAX: Final = 255
"""AMQP 0-9-1 short string."""
REPLY_PREFIX: Final = "$reply."
"""Reply addresses begin with it, so names do not: who sends an answer knows a box from a queue by looking."""
FAILURES_KEPT_MAX: Final = 16
"""The first and the latest fifteen failures of a message."""
EXCEPTIONS_MAX: Final = 100_000
"""Runs that differ from "untouched", and messages with a failure history, in one group. Past either, untouched messages
wait until some are settled, so that a downstream outage cannot turn a backlog into objects by the million (SEMANTICS
31)."""
DEADLINE_STEP_MS: Final = 100
"""Lease deadlines are rounded up to this, so that adjacent hand-outs share one lease."""
HOLD_MS_MAX: Final = 12 * 3600 * 1000
"""The longest a lease may be extended ahead of now."""
TTL_MS_MAX: Final = 10 * 366 * 24 * 3600 * 1000
"""Ten years: longer than any queue will be run unchanged, short enough that a mistaken unit is noticed."""
DEDUP_WINDOW_MS_MAX: Final = 30 * 24 * 3600 * 1000
"""Ids are for retries and restarts of producers, not an archive."""
MAX_AGE_MS_MAX: Final = 100 * 365 * 24 * 3600 * 1000
EXPIRES_MS_MIN: Final = 1_000
"""Whether a queue is used is looked at several times in this: more often would be work for nothing."""
EXPIRES_MS_MAX: Final = 10 * 365 * 24 * 3600 * 1000
EPHEMERAL_NUMBERS_FROM: Final = 1 << 40
"""Numbers of what no journal remembers begin with the boot epoch at this bit: lasting ones do not come that far."""
DEDUP_COUNT_MAX: Final = 1_000_000
"""Ids of one queue: some 160 MB of memory."""


# What happens to a publish that finds its queue at its bound.
BACKPRESSURE: Final = "backpressure"
REJECT_NEWEST: Final = "reject"
DROP_OLDEST: Final = "drop_oldest"
DROP_NEWEST: Final = "drop_newest"
OVERFLOWS: Final = (BACKPRESSURE, REJECT_NEWEST, DROP_OLDEST, DROP_NEWEST)


class Refusal(NamedTuple):
    """Why a command was refused: a stable code (``unknown-queue``) and a sentence that says what to do."""

    code: str
    message: str


class Refused(Exception):
    """Raised by a command that changes nothing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(code, message)


class Failure(NamedTuple):
    """One failed attempt at a message, kept with it and in its dead letter.

    ``consumer`` had the message from ``leased_at_ms`` (up to DEADLINE_STEP_MS early, where adjacent hand-outs share a
    lease) until ``time_ms``.
    """

    time_ms: int
    attempt: int
    consumer: str
    reason: str
    leased_at_ms: int


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What a queue was declared with.

    ``max_failures`` 0 means no limit; ``dead_letter`` None means "<queue>.dead"; ``dedup_window_ms`` 0 means that
    message ids are not looked at; ``max_messages``, ``max_bytes`` and ``max_age_ms`` 0 mean no bound,
    ``alarm_messages`` and ``alarm_age_ms`` 0 no alarm; ``ttl_ms`` 0 that messages may wait for ever; ``priority_max``
    is what higher priorities count as. The rate (``rates.py``, None for none) and the breaker (``breaker.py``,
    ``breaker_failures`` 0 for none) are those of the default group. ``expires_ms`` is how long it may be unused, 0 for
    ever; an ephemeral one ends with its last consumer (``lifetimes.py``).
    """

    durable: bool = True
    lease_ms: int = 30_000
    max_failures: int = 5
    backoff_min_ms: int = 500
    backoff_max_ms: int = 60_000
    dead_letter: str | None = None
    memory_bytes_max: int = 64 * 1024 * 1024
    dedup_window_ms: int = 0
    dedup_count_max: int = 100_000
    rate_per_s: float | None = None
    rate_burst: int | None = None
    max_messages: int = 0
    max_bytes: int = 0
    max_age_ms: int = 0
    overflow: str = BACKPRESSURE
    overflow_dead_letter: bool = False
    alarm_messages: int = 0
    alarm_age_ms: int = 0
    breaker_failures: int = 0
    breaker_wait_ms: int = 1000
    expires_ms: int = 0
    ephemeral: bool = False
    ttl_ms: int = 0
    on_expired: str = DROP
    priority_max: int = 9

    @property
    def judges(self) -> bool:
        """True when publishing looks at more than sequences: at message ids, or at what the queue holds."""
        bounds = self.max_messages or self.max_bytes or self.max_age_ms
        return bool(self.dedup_window_ms or bounds or not self.durable)

    @property
    def has_alarms(self) -> bool:
        """True when somebody wants to be told of how much it holds, or how old that is."""
        return bool(self.alarm_messages or self.alarm_age_ms)

    @property
    def parts_blocks(self) -> bool:
        """True when the messages of one block may have different fates."""
        return bool(self.dedup_window_ms or self.overflow in (REJECT_NEWEST, DROP_NEWEST))

    def as_map(self) -> dict[str, Any]:
        """Every setting by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


ALTERABLE: Final = frozenset(
    {
        *("lease_ms", "max_failures", "backoff_min_ms", "backoff_max_ms", "dead_letter", "memory_bytes_max"),
        *("rate_per_s", "rate_burst", "alarm_messages", "alarm_age_ms", "expires_ms"),
        *("breaker_failures", "breaker_wait_ms"),
        *("max_messages", "max_bytes", "max_age_ms", "overflow", "overflow_dead_letter"),
        *("dedup_window_ms", "dedup_count_max"),
        *("ttl_ms", "on_expired", "priority_max"),
    }
)
"""Settings of a living queue that may be altered: nothing that is stored depends on them. When a message expires and
which priority it has was settled as it entered the log."""
GROUP_ALTERABLE: Final = frozenset(
    {"on_dead", "rate_per_s", "rate_burst", "breaker_failures", "breaker_wait_ms", "where"}
)

_BOUNDS: Final = {
    "lease_ms": (100, HOLD_MS_MAX),
    "max_failures": (0, 1_000_000),
    "backoff_min_ms": (0, HOLD_MS_MAX),
    "backoff_max_ms": (0, HOLD_MS_MAX),
    "memory_bytes_max": (4096, 1 << 40),
    "dedup_window_ms": (0, DEDUP_WINDOW_MS_MAX),
    "dedup_count_max": (1, DEDUP_COUNT_MAX),
    "max_messages": (0, 1 << 40),
    "max_bytes": (0, 1 << 50),
    "max_age_ms": (0, MAX_AGE_MS_MAX),
    "breaker_failures": (0, BREAKER_FAILURES_MAX),
    "breaker_wait_ms": (1, BREAKER_WAIT_MS_MAX),
    "alarm_messages": (0, 1 << 40),
    "alarm_age_ms": (0, MAX_AGE_MS_MAX),
    "expires_ms": (0, EXPIRES_MS_MAX),
    "ttl_ms": (0, TTL_MS_MAX),
    "priority_max": (9, PRIORITY_HIGHEST),
}


def parse_settings(arguments: dict[str, Any]) -> QueueSettings:
    """Build settings from a declare's arguments; raises Refused (bad-setting) naming the first wrong one."""
    known = {field.name for field in fields(QueueSettings)}
    for name, value in arguments.items():
        if name not in known:
            raise Refused("bad-setting", f"a queue has no setting {name!r}; there are {', '.join(sorted(known))}")
        _check_setting(name, value)
    settings = QueueSettings(**({"durable": False} if arguments.get("ephemeral") else {}) | arguments)
    _check_lifetime(settings)
    if settings.backoff_min_ms > settings.backoff_max_ms:
        raise Refused("bad-setting", "backoff_min_ms is above backoff_max_ms")
    _check_burst_has_rate(settings)
    drops = settings.overflow in (DROP_OLDEST, DROP_NEWEST) or settings.max_age_ms
    if settings.overflow_dead_letter and not drops:
        needed = f"overflow {DROP_OLDEST} or {DROP_NEWEST}, or max_age_ms"
        raise Refused("bad-setting", f"overflow_dead_letter needs {needed}: nothing else is dropped")
    return settings


def _check_lifetime(settings: QueueSettings) -> None:
    if settings.ephemeral and settings.durable:
        raise Refused("bad-setting", "an ephemeral queue lives in memory: it cannot be durable")
    if 0 < settings.expires_ms < EXPIRES_MS_MIN:
        raise Refused("bad-setting", f"expires_ms must be 0 or at least {EXPIRES_MS_MIN}, not {settings.expires_ms}")


def _check_setting(name: str, value: Any) -> None:
    if name in ("durable", "overflow_dead_letter", "ephemeral"):
        if not isinstance(value, bool):
            raise Refused("bad-setting", f"{name} must be true or false, not {value!r}")
    elif name == "overflow":
        if value not in OVERFLOWS:
            raise Refused("bad-setting", f"overflow must be one of {', '.join(OVERFLOWS)}, not {value!r}")
    elif name == "dead_letter":
        if value is not None:
            check_name(value)
    elif name in ("rate_per_s", "rate_burst"):
        _check_rate(name, value)
    elif name == "on_expired":
        if value not in EXPIRED_FATES:
            raise Refused("bad-setting", f"on_expired must be one of {', '.join(EXPIRED_FATES)}, not {value!r}")
    else:
        _check_number(name, value)


def _check_number(name: str, value: Any) -> None:
    low, high = _BOUNDS[name]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Refused("bad-setting", f"{name} must be a whole number from {low} to {high}, not {value!r}")


def _check_rate(name: str, value: Any) -> None:
    number = isinstance(value, int) or (name == "rate_per_s" and isinstance(value, float))
    low, high = (RATE_PER_S_MIN, RATE_PER_S_MAX) if name == "rate_per_s" else (1, BURST_MAX)
    if value is not None and (not number or isinstance(value, bool) or not low <= value <= high):
        kind = "messages a second" if name == "rate_per_s" else "a whole number"
        raise Refused("bad-setting", f"{name} must be {kind} from {low:g} to {high:g}, or nil, not {value!r}")


def _check_burst_has_rate(settings: QueueSettings | GroupSettings) -> None:
    if settings.rate_burst is not None and settings.rate_per_s is None:
        raise Refused("bad-setting", "rate_burst without a rate_per_s means nothing")


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """What a group was declared with.

    An ephemeral one lives in memory and ends with its last consumer. Where ``on_dead`` is ``hold``, what comes behind a
    dead message with its key, or in mode ``single`` at all, waits for it. One with ``where`` is done with every message
    that the selector does not select.
    """

    mode: str = "shared"
    ephemeral: bool = False
    on_dead: str = "skip"
    rate_per_s: float | None = None
    rate_burst: int | None = None
    where: Selector | None = None
    breaker_failures: int = 0
    breaker_wait_ms: int = 1000

    def as_map(self) -> dict[str, Any]:
        """Every setting by name, as people see it: the selector is its text, "" for none."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"where": self.where.text if self.where else ""}

    def as_json(self) -> dict[str, Any]:
        """Every setting by name, for facts and snapshots."""
        return self.as_map() | {"where": self.where}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the settings of a fact or snapshot."""
        where = values["where"]
        return cls(**values | {"where": where and selector_from_json(where)})


def parse_group_settings(arguments: dict[str, Any]) -> GroupSettings:
    """Build settings from a declare's arguments; raises Refused (bad-setting) naming the first wrong one."""
    known = {field.name for field in fields(GroupSettings)}
    for name in arguments:
        if name not in known:
            raise Refused("bad-setting", f"a group has no setting {name!r}; there are {', '.join(sorted(known))}")
    settings = GroupSettings(**arguments)
    if settings.mode not in MODES:
        raise Refused("bad-setting", f"mode must be one of {', '.join(MODES)}, not {settings.mode!r}")
    if settings.where is not None and not isinstance(settings.where, Selector):
        raise Refused("bad-setting", f"where must be a selector, not {settings.where!r}")
    if not isinstance(settings.ephemeral, bool):
        raise Refused("bad-setting", f"ephemeral must be true or false, not {settings.ephemeral!r}")
    if settings.on_dead not in ("skip", "hold"):
        raise Refused("bad-setting", f"on_dead must be 'skip' or 'hold', not {settings.on_dead!r}")
    if settings.on_dead == "hold" and (settings.mode == "shared" or settings.ephemeral):
        raise Refused(
            "bad-setting", "on_dead 'hold' keeps an order: it needs mode keyed or single, and a lasting group"
        )
    _check_rate("rate_per_s", settings.rate_per_s)
    _check_rate("rate_burst", settings.rate_burst)
    _check_burst_has_rate(settings)
    _check_number("breaker_failures", settings.breaker_failures)
    _check_number("breaker_wait_ms", settings.breaker_wait_ms)
    return settings


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Name each setting that differs, with both values; empty when equal."""
    return ", ".join(
        f"{name} is {value!r}, not {theirs[name]!r}" for name, value in ours.items() if value != theirs[name]
    )


def changes_between(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return each setting that differs, with both values."""
    return {name: (before[name], value) for name, value in after.items() if value != before[name]}


def check_name(name: Any) -> str:
    """Return a legal queue, group or exchange name, or raise Refused (bad-name)."""
    if not isinstance(name, str) or not local_name(name):
        raise Refused("bad-name", "a name must be a text of at least one character")
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError as error:
        raise Refused("bad-name", "a name must be valid UTF-8") from error
    if size_bytes > NAME_BYTES_MAX:
        raise Refused("bad-name", f"a name may have {NAME_BYTES_MAX} bytes, this one has {size_bytes}")
    if name.startswith(REPLY_PREFIX) or local_name(name).startswith(REPLY_PREFIX):
        raise Refused("bad-name", f"names that begin with {REPLY_PREFIX!r} are reply addresses, not {name!r}")
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise Refused("bad-name", f"a name may not hold control characters: {name!r}")
    return name


def backoff_ms(settings: QueueSettings, failures: int, salt: int) -> int:
    """Return the wait before the next attempt: exponential, half of it jitter.

    The jitter comes from ``salt`` (the offset) by a multiplicative hash: scattered over messages, the same in a replay.
    """
    full = min(settings.backoff_max_ms, settings.backoff_min_ms << min(failures - 1, 40))
    scatter = ((salt * 0x9E3779B97F4A7C15 + failures * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF) >> 40
    return full // 2 + (full - full // 2) * scatter // 0xFFFFFF
