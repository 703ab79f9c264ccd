"""Rates as people write them: ``100/s``, ``30/min``, ``5/h``."""

from __future__ import annotations

import re
from typing import Any, Final

Rate = str | float
"""Messages a second, or a text such as ``100/s``, ``30/min``, ``5/h``, ``2/d``."""

_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_FORM: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(s|min|h|d)\s*")


def per_second(rate: Rate) -> float:
    """Return a rate in messages a second. Raises ValueError for a text that is none."""
    if not isinstance(rate, str):
        return float(rate)
    match = _FORM.fullmatch(rate)
    if match is None:
        raise ValueError(f"{rate!r} is no rate: write messages and a unit, as in 100/s, 30/min, 5/h or 2/d")
    return float(match[1]) / _SECONDS[match[2]]


def altered_rate(rate: Rate | None, burst: int | None) -> dict[str, Any]:
    """Return what an alteration says of a rate: nothing where none was given, nil for a rate of 0."""
    altered: dict[str, Any] = {}
    if rate is not None:
        altered["rate_per_s"] = per_second(rate) if rate else None
        altered["rate_burst"] = burst
    elif burst is not None:
        altered["rate_burst"] = burst
    return altered
