"""What a message says of itself, also when its producer wrote nonsense."""

from datetime import UTC, datetime
from typing import Any

import pytest

from penstock_client.delivery import MessageView, looked_at
from penstock_client.wire.blocks import encode_block
from penstock_client.wire.entries import Delivery as Entry

DEAD = {"queue": "jobs", "attempts": 2, "reason": "boom", "failures": [], "published_at_ms": 1_000}
FAILURE = {"time_ms": 1, "attempt": 1, "consumer": "c", "reason": "boom", "leased_at_ms": 1}


def message(**properties: Any) -> MessageView:
    block = encode_block([b"body"], properties=[properties])
    delivery = looked_at(Entry(0, 1, 0, 0, 0, 7, 0, 0, 1, block), "jobs")
    return MessageView(delivery, 0, delivery.bodies[0])


def test_a_dead_letter_says_where_it_comes_from() -> None:
    dead = message(dead=DEAD | {"offset": 4, "group": "g", "earlier": DEAD, "failures": [FAILURE]}).dead
    assert dead is not None
    assert (dead.queue, dead.offset, dead.group, dead.reason) == ("jobs", 4, "g", "boom")
    assert dead.earlier is not None
    assert dead.failures[0].reason == "boom"


@pytest.mark.parametrize(
    "dead",
    [
        {},
        "text",
        5,
        {"queue": "jobs"},
        DEAD | {"reason": None},
        DEAD | {"queue": 1},
        DEAD | {"attempts": "x"},
        DEAD | {"failures": 3},
        DEAD | {"failures": [FAILURE | {"reason": 1}]},
        DEAD | {"failures": [{}]},
        DEAD | {"failures": ["x"]},
        DEAD | {"published_at_ms": "yesterday"},
        DEAD | {"published_at_ms": 1 << 63},
        DEAD | {"published_at_ms": None},
        DEAD | {"earlier": {"queue": 1}},
    ],
)
def test_what_a_producer_wrote_in_its_place_is_no_provenance(dead: Any) -> None:
    assert message(dead=dead).dead is None
    assert message(redriven=dead).redriven is None
    assert message(dead=dead).body == b"body"


def test_lives_within_lives_are_not_followed() -> None:
    lives: dict[str, Any] = DEAD
    for _ in range(400):
        lives = DEAD | {"earlier": lives}
    dead = message(dead=lives).dead
    assert dead is not None
    assert dead.earlier is not None
    assert dead.earlier.earlier is None


@pytest.mark.parametrize("timestamp", ["x", 1 << 62, -(1 << 62), None, [], float("nan")])
def test_a_timestamp_that_is_no_time_is_none(timestamp: Any) -> None:
    assert message(timestamp=timestamp).timestamp is None


def test_a_timestamp_is_a_time() -> None:
    assert message(timestamp=1_500).timestamp == datetime.fromtimestamp(1.5, UTC)


def test_texts_are_texts_or_absent() -> None:
    odd = message(message_id=5, content_type=b"x", correlation_id=[], reply_to={})
    assert (odd.message_id, odd.content_type, odd.correlation_id, odd.reply_to) == (None, None, None, None)
    assert message(message_id="m", reply_to="r").message_id == "m"


@pytest.mark.parametrize(("redriven", "attempt"), [({"attempts": 3}, 4), ({"attempts": "x"}, 1), ({}, 1), (7, 1)])
def test_attempts_go_on_over_lives(redriven: Any, attempt: int) -> None:
    assert message(redriven=redriven).attempt == attempt


def test_terms_are_whole_numbers_or_those_of_a_message_that_asks_for_none() -> None:
    asking = message(priority=9, ttl_ms=1500)
    assert (asking.priority, asking.ttl) == (9, 1.5)
    for wrong in ("9", None, 2.5, True, [9]):
        told = message(priority=wrong, ttl_ms=wrong)
        assert (told.priority, told.ttl) == (4, None)
