"""Durations: seconds for an application, milliseconds in the protocol."""

from __future__ import annotations


def milliseconds(seconds: float) -> int:
    """Return a duration for the protocol; one that is not 0 stays so, for 0 means none. Raises ValueError."""
    if not abs(seconds) < float("inf"):
        raise ValueError(f"a duration is seconds, not {seconds!r}")
    return round(seconds * 1000) or int(seconds > 0)


def seconds_of(duration_ms: int | None) -> float | None:
    """Return a duration of the protocol in seconds, None for none."""
    return None if duration_ms is None else duration_ms / 1000
