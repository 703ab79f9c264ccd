"""From bodies to arguments: JSON and msgpack by content type, models by pydantic; what is wrong, line by line."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from pydantic import BaseModel

from penstock_client import Message
from penstock_client.worker import InvalidPayload
from penstock_client.worker.formats import find_pydantic
from penstock_client.worker.payloads import make_reader
from penstock_client.worker.testing import receive


class Order(BaseModel):
    """A model."""

    id: str
    amount: int
    at: datetime | None = None


@dataclass
class Point:
    """A dataclass."""

    x: int
    y: int


def read(annotation: Any, body: bytes, content_type: str | None = None) -> Any:
    return make_reader(annotation)(receive(Message(body, content_type=content_type)))


JSON_TYPES = [None, "application/json", "application/json; charset=utf-8", "application/vnd.order+json"]
MSGPACK_TYPES = ["application/msgpack", "application/x-msgpack", "Application/MsgPack; version=5"]


@pytest.mark.parametrize("content_type", JSON_TYPES)
def test_json_is_read_when_the_content_type_names_it_or_nothing(content_type: str | None) -> None:
    assert read(Order, b'{"id":"a","amount":5}', content_type) == Order(id="a", amount=5)
    assert read(dict, b'{"id":"a"}', content_type) == {"id": "a"}


@pytest.mark.parametrize("content_type", MSGPACK_TYPES)
def test_msgpack_is_read_when_the_content_type_names_it(content_type: str) -> None:
    body = msgpack.packb({"id": "a", "amount": 5, "at": "2026-01-02T03:04:05Z"})
    assert read(Order, body, content_type) == Order(id="a", amount=5, at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert read(list, msgpack.packb([1, b"\xff", None]), content_type) == [1, b"\xff", None]
    assert read(dict, msgpack.packb({1: "a"}), content_type) == {1: "a"}


@pytest.mark.parametrize(
    ("annotation", "body", "value"),
    [
        (Point, b'{"x":1,"y":2}', Point(1, 2)),
        (list[Point], b'[{"x":1,"y":2}]', [Point(1, 2)]),
        (dict[str, int], b'{"a":1}', {"a": 1}),
        (dict[str, Any], b'{"a":[1]}', {"a": [1]}),
        (list[Any], b"[1]", [1]),
        (Order | None, b"null", None),
        (int, b"7", 7),
    ],
)
def test_types_are_what_pydantic_validates(annotation: Any, body: bytes, value: Any) -> None:
    assert read(annotation, body) == value


@pytest.mark.parametrize("content_type", ["image/png", None, "application/msgpack"])
def test_bytes_and_text_are_taken_whatever_the_content_type(content_type: str | None) -> None:
    assert read(bytes, b"\xff\x00", content_type) == b"\xff\x00"
    assert read(str, "é".encode(), content_type) == "é"


@pytest.mark.parametrize(
    ("annotation", "body", "content_type", "trouble"),
    [
        (
            Order,
            b'{"id":1}',
            None,
            "the body is not a valid Order\nid: Input should be a valid string\namount: Field req",
        ),
        (Order, b"{", None, "the body is not a valid Order\nbody: Invalid JSON"),
        (Order, b"\xc1", "application/msgpack", "the body is not msgpack: "),
        (Order, b"\x80\x80", "application/msgpack", "the body is not msgpack: bytes follow the value"),
        (Order, msgpack.packb(3), "application/msgpack", "the body is not a valid Order\nbody: Input should be"),
        (Order, b"<xml/>", "text/xml", "content type 'text/xml', and the handler takes application/json or"),
        (list[Point], b'[{"x":1}]', None, "0.y: Field required"),
        (dict, b"[1]", None, "the body holds a list, and the handler takes a dict"),
        (list, b"{", None, "the body is not JSON: "),
        (dict, b"[" * 100_000, None, "the body is not JSON: "),
        (dict, b"\x91" * 100_000, "application/msgpack", "the body is not msgpack: "),
        (dict, b"\xd6\xff\x00\x00\x00\x01", "application/msgpack", "the body is not msgpack: "),
        (str, b"\xff", None, "the body is not UTF-8: "),
    ],
)
def test_what_is_wrong_with_a_body_is_said(
    annotation: Any, body: bytes, content_type: str | None, trouble: str
) -> None:
    with pytest.raises(InvalidPayload) as raised:
        read(annotation, body, content_type)
    assert trouble in str(raised.value)


def test_of_many_errors_the_first_are_named() -> None:
    with pytest.raises(InvalidPayload) as raised:
        read(list[int], b"[" + b'"x",' * 99 + b'"x"]')
    lines = str(raised.value).splitlines()
    assert (len(lines), lines[-1]) == (22, "and 80 more")


def test_without_pydantic_models_are_refused_and_the_rest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydantic", None)
    find_pydantic.cache_clear()
    try:
        with pytest.raises(TypeError, match=r"type Order needs pydantic: install penstock-client\[worker\]"):
            make_reader(Order)
        assert read(dict[str, Any], b'{"a":1}') == {"a": 1}
        assert read(bytes, b"x") == b"x"
    finally:
        find_pydantic.cache_clear()
