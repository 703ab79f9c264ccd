"""When a cron line fires, in a time zone: the engine's calendar, over ``cronsim`` and the time zone database.

    minute  hour  day of month  month  day of week        before them, if there are six fields: the second
    0-59    0-23  1-31, L, LW   1-12   0-7, 1L, 1#2       names for months and days, lists, ranges, steps

Where clocks are set forward or back, it does what Debian's cron does. A line whose minute and hour are both fixed fires
once for each of its times: one that a gap skips fires when the gap is over, one that comes twice only the first time.
Every other line goes by the clock on the wall: what a gap skips is left out, and what comes twice fires twice.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from penstock.core.values import Refused

LINE_CHARACTERS_MAX: Final = 256
"""Longer than any honest line, short enough that reading one takes no time."""

_FIELDS: Final = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_RANGES: Final = ("0 to 59", "0 to 59", "0 to 23", "1 to 31, L or LW", "1 to 12 or JAN", "0 to 7, SUN, 5L or 1#2")
_VALUE: Final = r"(?:[0-9]{1,2}|[A-Z]{3})"
_TERM: Final = re.compile(rf"(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/[0-9]{{1,3}})?")
_MORE_TERMS: Final = {
    "day-of-month": re.compile(r"L|LW"),
    "day-of-week": re.compile(rf"[0-7]L|{_VALUE}#[1-5]"),
}


class CronCalendar:
    """Implements ``penstock.engine.interface.Calendar``."""

    def check(self, cron: str, zone: str) -> None:
        """Raise Refused (bad-setting) unless both make sense: it says where the line is wrong, and why."""
        _zone(zone)
        if len(cron) > LINE_CHARACTERS_MAX:
            raise _wrong(f"a cron line has at most {LINE_CHARACTERS_MAX} characters, this one has {len(cron)}")
        found = list(re.finditer(r"\S+", cron))
        if len(found) not in (5, 6):
            raise _wrong(f"the cron line {cron!r} has {len(found)} fields; it has to have 5, or 6 with seconds first")
        for match, field in zip(found, _FIELDS[-len(found) :], strict=True):
            extra = _MORE_TERMS.get(field)
            for term in match[0].upper().split(","):
                if not _TERM.fullmatch(term) and not (extra and extra.fullmatch(term)):
                    raise _misplaced(cron, match, field)
        try:
            CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            field = str(error).removeprefix("Bad ")
            raise _misplaced(cron, found[_FIELDS.index(field) - 6], field) from error

    def next_ms(self, cron: str, zone: str, after_ms: int) -> int | None:
        """Return the first time after ``after_ms`` at which it fires; None when there is none in the next 50 years."""
        return _first(CronSim(cron, _local(zone, after_ms)))

    def previous_ms(self, cron: str, zone: str, before_ms: int) -> int | None:
        """Return the last time before ``before_ms`` at which it fired."""
        return _first(CronSim(cron, _local(zone, before_ms), reverse=True))


def _first(times: CronSim) -> int | None:
    found = next(times, None)
    return None if found is None else round(found.timestamp() * 1000)


def _local(zone: str, time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(_zone(zone))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # unknown; not a name at all; a directory of the database
        raise _wrong(f"there is no time zone {name!r}; they are named like Europe/Berlin or UTC") from error


def _misplaced(cron: str, match: re.Match[str], field: str) -> Refused:
    index = _FIELDS.index(field)
    return _wrong(
        f"the {field} of the cron line {cron!r}, characters {match.start() + 1} to {match.end()}, is {match[0]!r};"
        f" it has to be {_RANGES[index]}, *, or lists (1,5), ranges (1-5) and steps (*/5) of these"
    )


def _wrong(message: str) -> Refused:
    return Refused("bad-setting", message)
