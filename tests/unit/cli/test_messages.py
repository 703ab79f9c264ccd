"""How a message looks: `penstock.cli.messages`."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from penstock.cli.messages import MessageFormat, json_text, message_map, render, reply_line, reply_map
from penstock_client import DeadLetter, Failure, ReplyError


@dataclass
class FakeMessage:
    """What printing reads of a message."""

    body: bytes = b"body"
    queue: str = "jobs"
    offset: int = 7
    attempt: int = 1
    failures: int = 0
    published_at: datetime = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    key: str | None = None
    message_id: str | None = None
    content_type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    timestamp: datetime | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    dead: Any = None
    ttl: float | None = None
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass
class FakeReply:
    """What printing reads of a reply."""

    body: bytes = b"body"
    replied_at: datetime = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    key: str | None = None
    message_id: str | None = None
    content_type: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    error: ReplyError | None = None


def reply(**values: Any) -> Any:
    return cast(Any, FakeReply(**values))


def message(**values: Any) -> Any:
    return cast(Any, FakeMessage(**values))


def test_json_shows_what_a_message_carries_and_nothing_empty() -> None:
    assert message_map(message(key="k", headers={"kind": "b"})) == {
        "queue": "jobs",
        "offset": 7,
        "attempt": 1,
        "failures": 0,
        "published_at": "2026-01-02T03:04:05.678+00:00",
        "key": "k",
        "headers": {"kind": "b"},
        "body": "body",
    }


def test_a_dead_letter_shows_its_history() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    failure = Failure(at, 1, "worker-1", "ValueError: no\n\nTraceback", at - timedelta(seconds=2))
    earlier = DeadLetter("jobs", 1, 5, "the first time", [], "billing", at - timedelta(days=2), None)
    dead = DeadLetter("jobs", 3, 1, "max-failures", [failure], "", at - timedelta(days=1), earlier)
    assert message_map(message(dead=dead))["dead"] == {
        "queue": "jobs",
        "offset": 3,
        "attempts": 1,
        "reason": "max-failures",
        "failures": [
            {
                "time": "2026-01-01T00:00:00.000+00:00",
                "attempt": 1,
                "consumer": "worker-1",
                "reason": "ValueError: no\n\nTraceback",
                "leased_at": "2025-12-31T23:59:58.000+00:00",
            }
        ],
        "group": "",
        "published_at": "2025-12-31T00:00:00.000+00:00",
        "earlier": {
            "queue": "jobs",
            "offset": 1,
            "attempts": 5,
            "reason": "the first time",
            "failures": [],
            "group": "billing",
            "published_at": "2025-12-30T00:00:00.000+00:00",
            "earlier": None,
        },
    }
    assert render([message(dead=dead)], MessageFormat.TEXT) == b"       7  body  dead: max-failures\n"


def test_a_body_that_is_not_text_is_base64() -> None:
    shown = message_map(message(body=b"\xff\x00"))
    assert shown["body_base64"] == "/wA="
    assert "body" not in shown


def test_each_message_is_one_json_line_whatever_is_in_it() -> None:
    printed = render(
        [message(body=b"two\nlines"), message(body="größe".encode(), headers={"raw": b"\xff"})], MessageFormat.JSON
    )
    first, second = printed.decode().splitlines()
    assert json.loads(first)["body"] == "two\nlines"
    assert '"größe"' in second
    assert json.loads(second)["headers"] == {"raw": "/w=="}


def test_raw_is_the_body_and_a_line_feed() -> None:
    assert render([message(body=b"\xff\x00"), message(body=b"")], MessageFormat.RAW) == b"\xff\x00\n\n"


def test_text_never_steers_a_terminal() -> None:
    printed = render(
        [message(body=b"\x1b[2J\xff", key="k\x07", headers={"\x1b": "\x9b"}, attempt=2)], MessageFormat.TEXT
    )
    assert printed.decode() == "       7  \\x1b[2J\\xff  key=k\\x07  \\x1b=\\x9b  attempt=2\n"


def test_text_shows_the_start_of_a_long_body_and_its_size() -> None:
    printed = render([message(body=b"x" * 5000)], MessageFormat.TEXT).decode()
    assert printed == f"       7  {'x' * 400}... (5,000 bytes)\n"


def test_a_reply_shows_what_it_carries_and_nothing_empty() -> None:
    assert reply_map(reply()) == {"replied_at": "2026-01-02T03:04:05.678+00:00", "body": "body"}
    failed = reply(body=b"\xff", key="k", headers={"h": b"\x01"}, error=ReplyError("no-such-item", "item 9"))
    assert json.loads(json_text(reply_map(failed))) == {
        "replied_at": "2026-01-02T03:04:05.678+00:00",
        "key": "k",
        "headers": {"h": "AQ=="},
        "error": {"code": "no-such-item", "message": "item 9"},
        "body_base64": "/w==",
    }


def test_a_reply_on_a_line_says_why_the_request_failed_and_steers_no_terminal() -> None:
    assert reply_line(reply(headers={"a": "1"})) == "body  a=1"
    assert reply_line(reply(body=b"", error=ReplyError("c", "no\x1b[2J"))) == "failed: no\\x1b[2J (c)"
    assert reply_line(reply(body=b"more", error=ReplyError("c", "no"))) == "more  failed: no (c)"


def test_a_priority_is_shown_when_the_message_says_one_the_lowest_too() -> None:
    assert "priority" not in message_map(message())
    shown = message_map(message(properties={"priority": 0}, ttl=1.5))
    assert (shown["priority"], shown["ttl"]) == (0, 1.5)
