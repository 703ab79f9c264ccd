"""A message's history as a story: who had it, from when to when, on which attempt, and what each said."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.cli.history import history_map, tell
from penstock_client import History
from penstock_client.wire.blocks import encode_block

START = datetime(2026, 11, 25, 22, 41, 46, 141_000, tzinfo=UTC)


def at_ms(seconds: float) -> int:
    return round((START + timedelta(seconds=seconds)).timestamp() * 1000)


def failure(
    attempt: int, leased_s: float, failed_s: float, reason: str, consumer: str = "shop@vm:17"
) -> dict[str, Any]:
    times = {"time_ms": at_ms(failed_s), "leased_at_ms": at_ms(leased_s)}
    return times | {"attempt": attempt, "consumer": consumer, "reason": reason}


def life(offset: int, published_s: float, reason: str, failures: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A provenance, as the broker writes it into a dead letter."""
    counts = {"attempts": len(failures), "failures": failures, "published_at_ms": at_ms(published_s)}
    return {"queue": "jobs", "offset": offset, "reason": reason} | counts | more


def found(published_s: float = 0, properties: dict[str, Any] | None = None, **values: Any) -> History:
    """A history as the broker tells it."""
    block = encode_block([b'{"id": 1}'], properties=[properties] if properties else None)
    told: dict[str, Any] = {"queue": "jobs", "group": "", "offset": 4, "state": "ready", "attempts": 0, "failures": 0}
    told |= {"history": [], "consumer": "", "leased_at_ms": 0, "until_ms": 0}
    return History.of(told | {"published_at_ms": at_ms(published_s), "block": block} | values)


def story(published_s: float = 0, properties: dict[str, Any] | None = None, **values: Any) -> str:
    return "\n".join(tell(found(published_s, properties, **values)))


def test_a_message_that_nobody_had() -> None:
    assert story() == (
        "Message 4 of jobs, published 2026-11-25 22:41:46.141 UTC.\n\n"
        "Now it is ready for attempt 1.\n\n"
        'Its body, 9 bytes: {"id": 1}'
    )


def test_each_failed_attempt_says_who_had_it_from_when_to_when_and_why_it_failed() -> None:
    told = story(
        state="scheduled",
        attempts=2,
        history=[
            failure(1, 0.5, 3, "ValueError: no stock\n\nTraceback (most recent call last):\n  File x\n"),
            failure(2, 8_000, 8_001.25, "the lease expired", "other@vm:18"),
        ],
        until_ms=at_ms(8_003),
    )
    assert told == (
        "Message 4 of jobs, published 2026-11-25 22:41:46.141 UTC.\n\n"
        "Attempt 1, after 500 ms: shop@vm:17 had it from 2026-11-25 22:41:46.641 UTC to 22:41:49.141,\n"
        "2.5 s. It failed:\n"
        "    ValueError: no stock\n"
        "\n"
        "    Traceback (most recent call last):\n"
        "      File x\n\n"
        "Attempt 2, after 2 h 13 min: other@vm:18 had it from 2026-11-26 00:55:06.141 UTC to 00:55:07.391,\n"
        "1.25 s. It failed:\n"
        "    the lease expired\n\n"
        "Now it waits until 2026-11-26 00:55:09.141 UTC for attempt 3.\n\n"
        'Its body, 9 bytes: {"id": 1}'
    )


def test_a_lease_that_goes_over_midnight_tells_both_dates() -> None:
    told = story(attempts=1, history=[failure(1, 0, 8_000, "")])
    assert "had it from 2026-11-25 22:41:46.141 UTC to 2026-11-26 00:55:06.141 UTC,\n2 h 13 min. It failed:\n" in told
    assert "\n    (no reason was given)\n" in told


def test_who_has_it_now_is_told() -> None:
    told = story(state="leased", attempts=1, consumer="shop@vm:17", leased_at_ms=at_ms(1), until_ms=at_ms(31))
    assert (
        "Attempt 1: no failure is kept; given back, under way, or more than are kept.\n\n"
        "Now shop@vm:17 has it, attempt 1, from 2026-11-25 22:41:47.141 UTC; its lease ends 22:42:17.141 unless it is"
        " extended."
    ) in told
    assert "Now it is on its way to the dead letters." in story(state="dying", attempts=1)
    assert "It is dead and held in its place" in story(state="held", attempts=1)


def test_attempts_without_a_kept_failure_are_counted() -> None:
    told = story(attempts=30, history=[failure(1, 0, 1, "a"), failure(20, 5, 6, "b")])
    assert "Attempts 2 to 19: no failure is kept" in told
    assert "Attempts 21 to 30: no failure is kept" in told


def test_a_dead_letter_brings_its_lives_along_the_oldest_first() -> None:
    first = life(4, 0, "KeyError: 'id'\n\nTraceback", [failure(1, 0, 1, "KeyError: 'id'")])
    second = life(9, 60, "", [failure(1, 100, 101, "again")], earlier=first)
    told = story(102, {"dead": second}, queue="jobs.dead", offset=2)
    headings = [line for line in told.splitlines() if line.startswith(("Message", "It died", "Now"))]
    assert headings == [
        "Message 4 of jobs, published 2026-11-25 22:41:46.141 UTC.",
        "It died of: KeyError: 'id'",
        "Message 9 of jobs, published 2026-11-25 22:42:46.141 UTC.",
        "It died of: no reason was given",
        "Message 2 of jobs.dead, published 2026-11-25 22:43:28.141 UTC.",
        "Now it is ready for attempt 1.",
    ]


def test_a_redriven_message_brings_its_past_along() -> None:
    told = story(60, {"redriven": life(4, 0, "boom", [failure(1, 0, 1, "boom")])}, offset=9)
    assert told.index("Message 4 of jobs") < told.index("It died of: boom") < told.index("Message 9 of jobs")


def test_nothing_that_a_worker_said_steers_a_terminal() -> None:
    told = story(attempts=1, history=[failure(1, 0, 1, "\x1b[2J\n\x07", "\x1b]0;x")])
    assert "\x1b" not in told
    assert "\x07" not in told


def test_json_has_everything_with_times_as_text() -> None:
    held: dict[str, Any] = {"state": "leased", "consumer": "c", "leased_at_ms": at_ms(1), "until_ms": at_ms(2)}
    shown = json.loads(json.dumps(history_map(found(attempts=1, history=[failure(1, 0, 1, "boom")], **held))))
    assert shown["failures"] == [
        {
            "time": "2026-11-25T22:41:47.141+00:00",
            "attempt": 1,
            "consumer": "shop@vm:17",
            "reason": "boom",
            "leased_at": "2026-11-25T22:41:46.141+00:00",
        }
    ]
    assert (shown["state"], shown["attempts"], shown["consumer"], shown["group"]) == ("leased", 1, "c", "")
    assert (shown["leased_at"], shown["until"]) == ("2026-11-25T22:41:47.141+00:00", "2026-11-25T22:41:48.141+00:00")
    assert (shown["queue"], shown["offset"], shown["body"]) == ("jobs", 4, '{"id": 1}')
    assert "message" not in shown
