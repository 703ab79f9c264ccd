"""What ``penstock queue find`` is asked, and how it shows what was found."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import typer

from penstock.cli.messages import message_map
from penstock.cli.output import duration_text, printable

if TYPE_CHECKING:
    from penstock_client import FoundMessage

BODY_CHARACTERS_SHOWN: Final = 60
"""Of a body in the table; ``--json`` has all of it."""
REASON_CHARACTERS_SHOWN: Final = 80

COLUMNS: Final = ("offset", "state", "what", "tries", "published", "key", "message")

_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}


class State(StrEnum):
    """What a message may be when it is found."""

    READY = "ready"
    SCHEDULED = "scheduled"
    LEASED = "leased"
    DYING = "dying"
    HELD = "held"
    EXPIRED = "expired"
    DEAD = "dead"


def parse_moment(text: str) -> datetime:
    """Return the time of ``15m`` (ago), ``2026-11-25``, ``2026-11-25 22:31`` (local time) or one with an offset."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError) as error:
        expected = "a time such as 15m, 2h or 3d (ago), 2026-11-25 or 2026-11-25T22:31"
        raise typer.BadParameter(f"{text!r} is not {expected}") from error


def found_map(found: "FoundMessage") -> dict[str, Any]:
    """Return what JSON output shows of a found message."""
    shown = message_map(found)
    shown["attempts"] = shown.pop("attempt")
    state: dict[str, Any] = {"state": found.state}
    if found.consumer:
        state["consumer"] = found.consumer
    if found.until:
        state["until"] = found.until.isoformat(timespec="milliseconds")
    if found.reason:
        state["reason"] = found.reason
    return state | shown


def found_row(found: "FoundMessage", now: datetime) -> tuple[object, ...]:
    """Return a found message as a row of the table."""
    return (
        str(found.offset),
        found.state,
        _what(found, now),
        found.dead.attempts if found.dead and found.state == State.DEAD else found.attempt,
        _age(found.published_at, now),
        found.key,
        _cut(found.body[: 4 * BODY_CHARACTERS_SHOWN].decode("utf-8", "backslashreplace"), BODY_CHARACTERS_SHOWN),
    )


def _what(found: "FoundMessage", now: datetime) -> str:
    """Who has it and until when, when it comes again, why it died: what one wants to know at night."""
    left = duration_text(max(0, round((found.until - now).total_seconds())) * 1000) if found.until else ""
    reason = _cut(found.reason.partition("\n")[0], REASON_CHARACTERS_SHOWN)
    match found.state:
        case State.LEASED:
            return f"held by {found.consumer}, {left} left"
        case State.SCHEDULED:
            return f"again in {left}: {reason}" if reason else f"again in {left}"
        case State.DEAD | State.DYING | State.HELD:
            return reason or "no reason was given"
        case State.EXPIRED:
            return "its time is over"
    return f"failed before: {reason}" if reason else ""


def _age(moment: datetime, now: datetime) -> str:
    return f"{duration_text(max(0, round((now - moment).total_seconds())) * 1000)} ago"


def _cut(text: str, characters: int) -> str:
    shown = printable(text)
    return shown if len(shown) <= characters else f"{shown[: characters - 3]}..."
