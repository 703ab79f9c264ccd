"""From what a handler returns to the message that is published for it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from pydantic import BaseModel

from penstock_client import Message
from penstock_client.worker import answers
from penstock_client.worker.answers import make_answer
from penstock_client.worker.testing import receive


class Receipt(BaseModel):
    """A model."""

    id: str
    at: datetime


@dataclass
class Point:
    """A dataclass."""

    x: int


RECEIPT = Receipt(id="r", at=datetime(2026, 1, 2, tzinfo=UTC))


def answered(result: Any, asked: Message, results: str | None = "done") -> tuple[str, Message]:
    answer = make_answer(result, receive(asked), results)
    assert answer is not None
    return answer


def test_an_answer_goes_where_its_message_asked_for_it_or_else_to_results() -> None:
    assert answered(b"x", Message(b"", reply_to="me"))[0] == "me"
    assert answered(b"x", Message(b""))[0] == "done"
    assert make_answer(b"x", receive(Message(b"")), None) is None


@pytest.mark.parametrize(
    ("result", "body", "content_type"),
    [
        (b"\xff", b"\xff", None),
        ("é", "é".encode(), "text/plain"),
        ({"a": [1, "é"]}, '{"a":[1,"é"]}'.encode(), "application/json"),
        (RECEIPT, b'{"id":"r","at":"2026-01-02T00:00:00Z"}', "application/json"),
        ([Point(1)], b'[{"x":1}]', "application/json"),
        (0, b"0", "application/json"),
        (False, b"false", "application/json"),
    ],
)
@pytest.mark.parametrize("asked_in", [None, "application/json", "image/png"])
def test_answers_are_json_by_default(result: Any, body: bytes, content_type: str | None, asked_in: str | None) -> None:
    _, message = answered(result, Message(b"", content_type=asked_in))
    assert (message.body, message.content_type) == (body, content_type)


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ({"a": b"\xff"}, {"a": b"\xff"}),
        (RECEIPT, {"id": "r", "at": "2026-01-02T00:00:00Z"}),
        ([Point(1), RECEIPT.at], [{"x": 1}, "2026-01-02T00:00:00Z"]),
    ],
)
def test_what_came_in_msgpack_is_answered_in_msgpack(result: Any, value: Any) -> None:
    _, message = answered(result, Message(b"", content_type="application/x-msgpack"))
    assert (msgpack.unpackb(message.body), message.content_type) == (value, "application/msgpack")


def test_an_answer_says_what_it_answers() -> None:
    assert answered(b"x", Message(b"", correlation_id="c", message_id="m"))[1].correlation_id == "c"
    assert answered(b"x", Message(b"", message_id="m"))[1].correlation_id == "m"


def test_a_whole_message_is_taken_as_it_is_and_not_changed() -> None:
    made = Message(b"x", key="k", headers={"h": 1})
    _, message = answered(made, Message(b"", message_id="m"))
    assert (message.body, message.key, message.headers, message.correlation_id) == (b"x", "k", {"h": 1}, "m")
    assert made.correlation_id is None
    assert answered(Message(b"x", correlation_id="own"), Message(b"", message_id="m"))[1].correlation_id == "own"


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack"])
def test_what_has_no_form_is_an_error(content_type: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        answered(object(), Message(b"", content_type=content_type))


def test_without_pydantic_plain_values_have_the_same_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_adapter", lambda: None)
    assert answered({"a": "é"}, Message(b""))[1].body == '{"a":"é"}'.encode()
    with pytest.raises(TypeError, match="msgpack has no form for a Point"):
        answered(Point(1), Message(b"", content_type="application/msgpack"))
