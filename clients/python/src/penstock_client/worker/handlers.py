"""A handler's signature, read once, where it is decorated: what is wrong with it is an error there and nowhere later.

A handler has one payload parameter, whose type says how the body is read, or one of type ``ReceivedMessage``, or both:

    async def charge(order: Order) -> Receipt: ...
    def resize(image: bytes, message: ReceivedMessage) -> None: ...    # blocking: runs in a thread

Parameters with a default are left alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from penstock_client.delivery import MessageView
from penstock_client.received import ReceivedMessage
from penstock_client.worker.errors import bad_handler
from penstock_client.worker.payloads import Read, make_reader

_TAKES: Final = "annotate it with a model, a dataclass, dict, list, str, bytes or ReceivedMessage"


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and how its arguments are found in a message."""

    call: Callable[..., Any]
    name: str
    blocking: bool
    sources: tuple[Read, ...]

    def arguments(self, message: MessageView) -> list[Any]:
        """Return its arguments. Raises InvalidPayload."""
        return [source(message) for source in self.sources]


def inspect_handler(call: Callable[..., Any]) -> Handler:
    """Return a function as a handler. Raises BadHandler, which says where it is and what to change."""
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise bad_handler(call, "it yields; a handler returns")
    try:
        signature = inspect.signature(call, eval_str=True)
    except NameError as error:
        raise bad_handler(call, f"{error}; the types of its parameters must be known at module level") from error
    except (TypeError, ValueError) as error:
        raise bad_handler(call, f"it has no signature to go by: {error}") from error
    needed = [p for p in signature.parameters.values() if p.default is p.empty]
    sources = tuple(_source(call, parameter) for parameter in needed)
    payload_count = sum(source is not _the_message for source in sources)
    if not sources or payload_count > 1 or len(sources) - payload_count > 1:
        raise bad_handler(call, "it takes one payload, or one ReceivedMessage, or both; others need a default")
    name = getattr(call, "__qualname__", type(call).__qualname__)
    return Handler(call, name, not _is_async(call), sources)


def _source(call: Callable[..., Any], parameter: inspect.Parameter) -> Read:
    if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
        raise bad_handler(call, f"{parameter} cannot be given: a handler's arguments are positional")
    annotation = parameter.annotation
    if annotation is parameter.empty:
        raise bad_handler(call, f"what is {parameter.name!r}? {_TAKES}")
    if inspect.isclass(annotation) and issubclass(annotation, MessageView):
        if annotation is not ReceivedMessage:
            raise bad_handler(call, f"{parameter.name!r} is to be a ReceivedMessage, not {annotation.__name__}")
        return _the_message
    try:
        return make_reader(annotation)
    except TypeError as error:
        raise bad_handler(call, f"{parameter.name!r}: {error}") from error


def _the_message(message: MessageView) -> MessageView:
    return message


def _is_async(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004
