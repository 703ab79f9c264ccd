"""How what was found is shown: `penstock.cli.finding`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer

from penstock.cli.finding import COLUMNS, found_map, found_row, parse_moment
from penstock_client import FoundMessage
from penstock_client.wire.blocks import encode_block

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
DEAD = {"queue": "jobs", "offset": 3, "attempts": 5, "reason": "ValueError: no", "failures": [], "published_at_ms": 0}


def found(body: bytes = b"body", dead: dict[str, Any] | None = None, **values: Any) -> FoundMessage:
    raw = {
        "offset": 7,
        "state": "ready",
        "attempts": 0,
        "failures": 0,
        "consumer": "",
        "until_ms": 0,
        "reason": "",
        "published_at_ms": NOW_MS - 7_500_000,
        "block": encode_block([body], keys=["acc-7"], properties=[{"dead": dead}] if dead else None),
    }
    return FoundMessage(raw | values, "jobs")


def row(message: FoundMessage) -> dict[str, object]:
    return dict(zip(COLUMNS, found_row(message, NOW), strict=True))


def test_a_ready_message_is_a_row() -> None:
    assert row(found()) == {
        "offset": "7",
        "state": "ready",
        "what": "",
        "tries": 0,
        "published": "2 h 5 min ago",
        "key": "acc-7",
        "message": "body",
    }


def test_what_is_known_of_each_state_is_said() -> None:
    leased = found(state="leased", consumer="worker-1", until_ms=NOW_MS + 12_000, attempts=2)
    assert (row(leased)["what"], row(leased)["tries"]) == ("held by worker-1, 12 s left", 2)
    scheduled = found(state="scheduled", until_ms=NOW_MS + 3_000, reason="TimeoutError: slow\n\nTraceback")
    assert row(scheduled)["what"] == "again in 3 s: TimeoutError: slow"
    assert row(found(state="scheduled", until_ms=NOW_MS - 5))["what"] == "again in 0 ms"
    assert row(found(state="ready", reason="was slow"))["what"] == "failed before: was slow"
    assert row(found(state="dying"))["what"] == "no reason was given"
    assert row(found(state="expired", reason="was slow"))["what"] == "its time is over"
    dead = found(state="dead", dead=DEAD)
    assert (row(dead)["what"], row(dead)["tries"]) == ("ValueError: no", 5)


def test_long_and_hostile_texts_are_cut_and_escaped() -> None:
    shown = row(found(body=b"\x1b[31m" + b"x" * 1_000, state="dying", reason="y" * 1_000))

    assert str(shown["message"]).startswith("\\x1b[31mxxx")
    assert len(str(shown["message"])) == 60
    assert len(str(shown["what"])) == 80


def test_json_has_everything_and_nothing_empty() -> None:
    assert found_map(found(state="leased", consumer="worker-1", until_ms=NOW_MS, attempts=1)) == {
        "state": "leased",
        "consumer": "worker-1",
        "until": "2026-01-02T03:04:05.000+00:00",
        "queue": "jobs",
        "offset": 7,
        "attempts": 1,
        "failures": 0,
        "published_at": "2026-01-02T00:59:05.000+00:00",
        "key": "acc-7",
        "body": "body",
    }
    assert found_map(found(state="dead", dead=DEAD))["reason"] == "ValueError: no"


def test_a_moment_is_a_time_ago_or_a_date() -> None:
    assert parse_moment("2026-01-02T03:04:05+00:00") == NOW
    assert parse_moment("2026-01-02").date() == NOW.date()
    assert parse_moment(" 2026-01-02 03:04 ").tzinfo is not None
    for text, ago in (("90s", 90), ("15m", 900), ("15 min", 900), ("1.5h", 5400), ("3d", 259_200)):
        passed = datetime.now(UTC) - parse_moment(text) - timedelta(seconds=ago)
        assert abs(passed) < timedelta(minutes=2)


@pytest.mark.parametrize("text", ["", "yesterday", "15x", "-3m", "2026-13-01"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="such as 15m"):
        parse_moment(text)
