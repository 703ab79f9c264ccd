"""Signatures, read where a handler is decorated: what may be asked for; what is refused, where, and what to do."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from penstock_client import Message, ReceivedMessage
from penstock_client.delivery import MessageView
from penstock_client.worker import BadHandler
from penstock_client.worker.handlers import inspect_handler
from penstock_client.worker.testing import receive


async def takes_body(body: bytes) -> None: ...


async def takes_message(message: ReceivedMessage) -> None: ...


def takes_both(body: str, message: ReceivedMessage) -> None: ...


def takes_both_the_other_way_round(message: ReceivedMessage, body: str) -> None: ...


def takes_defaults(body: bytes, limit: int = 3, *, flag: bool = False) -> None: ...


class Resizer:
    """A handler with a state."""

    async def __call__(self, image: bytes) -> None: ...

    def method(self, image: bytes) -> None: ...


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (takes_body, ["body"]),
        (takes_message, ["message"]),
        (takes_both, ["text", "message"]),
        (takes_both_the_other_way_round, ["message", "text"]),
        (takes_defaults, ["body"]),
        (Resizer(), ["body"]),
        (Resizer().method, ["body"]),
        (functools.partial(takes_defaults, limit=5), ["body"]),
    ],
)
def test_arguments_are_found_by_their_types(call: Callable[..., Any], arguments: list[str]) -> None:
    message = receive(Message(b"x"))
    values = {"body": b"x", "text": "x", "message": message}
    assert inspect_handler(call).arguments(message) == [values[argument] for argument in arguments]


def test_coroutine_functions_run_in_the_loop_and_others_in_threads() -> None:
    blocking = [inspect_handler(call).blocking for call in (takes_body, takes_both, Resizer(), Resizer().method)]
    assert blocking == [False, True, False, True]


def test_a_handler_is_called_by_its_name() -> None:
    assert inspect_handler(takes_body).name == "takes_body"
    assert inspect_handler(Resizer()).name == "Resizer"


async def no_payload() -> None: ...


async def two_payloads(body: bytes, text: str) -> None: ...


async def two_messages(a: ReceivedMessage, b: ReceivedMessage) -> None: ...


async def not_annotated(body) -> None: ...  # type: ignore[no-untyped-def]


async def any_number(*bodies: bytes) -> None: ...


async def by_name(*, body: bytes) -> None: ...


async def of_no_such_type(body: "Unheard") -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def of_another_kind_of_message(message: MessageView) -> None: ...


async def of_a_class_that_nobody_validates(body: Resizer) -> None: ...


async def yields(body: bytes) -> AsyncIterator[bytes]:
    yield body


def yields_too(body: bytes) -> Iterator[bytes]:
    yield body


@pytest.mark.parametrize(
    ("call", "trouble"),
    [
        (no_payload, "it takes one payload, or one ReceivedMessage, or both"),
        (two_payloads, "it takes one payload, or one ReceivedMessage, or both"),
        (two_messages, "it takes one payload, or one ReceivedMessage, or both"),
        (not_annotated, "what is 'body'? annotate it with a model"),
        (any_number, "cannot be given: a handler's arguments are positional"),
        (by_name, "cannot be given: a handler's arguments are positional"),
        (of_no_such_type, "name 'Unheard' is not defined; the types of its parameters must be known at module level"),
        (of_another_kind_of_message, "'message' is to be a ReceivedMessage, not MessageView"),
        (of_a_class_that_nobody_validates, "'body': a payload cannot be of type Resizer"),
        (yields, "it yields; a handler returns"),
        (yields_too, "it yields; a handler returns"),
    ],
)
def test_a_wrong_signature_is_refused_with_its_place_and_what_to_do(call: Callable[..., Any], trouble: str) -> None:
    with pytest.raises(BadHandler) as raised:
        inspect_handler(call)
    assert f"handler {call.__name__} ({__file__}:{call.__code__.co_firstlineno}): " in str(raised.value)
    assert trouble in str(raised.value)
    assert raised.value.code == "bad-handler"


def test_what_has_no_signature_is_refused() -> None:
    with pytest.raises(BadHandler, match="no signature to go by"):
        inspect_handler(3)  # type: ignore[arg-type] # that is the point
