"""The settings of a queue as an application gives them, and as the protocol has them.

Names are the protocol's, without their units: durations are in seconds. What is not given, or None, is the broker's to
choose, or stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from penstock_client.durations import milliseconds
from penstock_client.rates import Rate, altered_rate, per_second


class AlterableSettings(TypedDict, total=False):
    """What a living queue may be given as well; ``Queue.declare`` says what each means."""

    lease: float | None
    max_failures: int | None
    backoff: tuple[float, float] | None
    dead_letter: str | None
    memory_bytes_max: int | None
    dedup_window: float | None
    dedup_count_max: int | None
    rate: Rate | None
    rate_burst: int | None
    max_messages: int | None
    max_bytes: int | None
    max_age: float | None
    overflow: str | None
    overflow_dead_letter: bool | None
    alarm_messages: int | None
    alarm_age: float | None
    breaker_failures: int | None
    breaker_wait: float | None
    expires: float | None
    ttl: float | None
    on_expired: str | None
    priority_max: int | None


class QueueSettings(AlterableSettings, total=False):
    """What a queue is declared with."""

    durable: bool | None
    ephemeral: bool | None


DURATIONS: Final = ("lease", "dedup_window", "max_age", "alarm_age", "breaker_wait", "expires", "ttl")
"""Settings that are seconds here and milliseconds there."""
_KNOWN: Final = frozenset(QueueSettings.__annotations__)


def declared(settings: QueueSettings) -> dict[str, Any]:
    """Return what a declaration says. Raises TypeError for what is no setting of a queue, ValueError for a duration or
    rate that is none.
    """
    return _arguments(settings)


def _arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in _KNOWN:
            raise TypeError(f"a queue has no setting {name!r}; there are {', '.join(sorted(_KNOWN))}")
        if value is not None:
            arguments |= _argument(name, value)
    return arguments


def altered(settings: AlterableSettings) -> dict[str, Any]:
    """Return what an alteration says: a rate of 0 takes the rate away. Raises as ``declared`` does."""
    rates = altered_rate(settings.pop("rate", None), settings.pop("rate_burst", None))
    return _arguments(settings) | rates


def _argument(name: str, value: Any) -> dict[str, Any]:
    if name in DURATIONS:
        return {f"{name}_ms": milliseconds(value)}
    if name == "backoff":
        return {"backoff_min_ms": milliseconds(value[0]), "backoff_max_ms": milliseconds(value[1])}
    if name == "rate":
        return {"rate_per_s": per_second(value)}
    return {name: value}
