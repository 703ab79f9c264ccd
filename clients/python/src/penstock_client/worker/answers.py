"""From what a handler returns to the message that is published for it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any, Final

import msgpack

from penstock_client.delivery import MessageView
from penstock_client.message import Message
from penstock_client.worker.errors import InvalidPayload
from penstock_client.worker.formats import Format, find_pydantic, format_of
from penstock_client.worker.outcomes import Answer

TEXT_TYPE: Final = "text/plain"


def make_answer(result: Any, message: MessageView, results: str | None) -> Answer | None:
    """Return a handler's result as what is published: to where its message asked for it, or else to ``results``.

    It is in the format of the message it answers and says which one that was. A ``Message`` is taken as it is;
    ``bytes`` and ``str`` are bodies. Raises TypeError or ValueError for what has no form in that format.
    """
    queue = message.reply_to or results
    if queue is None:
        return None
    made = result if isinstance(result, Message) else make_message(result, message.content_type)
    if made.correlation_id is None:
        made = replace(made, correlation_id=message.correlation_id or message.message_id)
    return Answer(queue, made)


def make_message(value: Any, content_type: str | None = None) -> Message:
    """Return a value as a message in the format that a content type names, JSON if it names neither."""
    if isinstance(value, bytes):
        return Message(value)
    if isinstance(value, str):
        return Message(value.encode(), content_type=TEXT_TYPE)
    try:
        as_msgpack = format_of(content_type) is Format.MSGPACK
    except InvalidPayload:  # the handler took bytes of whatever kind; what it returns says what it is by itself
        as_msgpack = False
    if as_msgpack:
        return Message(_dump_msgpack(value), content_type=Format.MSGPACK.value)
    return Message(_dump_json(value), content_type=Format.JSON.value)


def _dump_json(value: Any) -> bytes:
    adapter = _adapter()
    if adapter is None:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return adapter.dump_json(value)  # type: ignore[no-any-return]


def _dump_msgpack(value: Any) -> bytes:
    return msgpack.packb(value, use_bin_type=True, default=_plain)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    """Return what msgpack has no form for as something it has: models as maps, times as text."""
    adapter = _adapter()
    if adapter is None:
        raise TypeError(f"msgpack has no form for a {type(value).__name__}")
    return adapter.dump_python(value, mode="json")


@cache
def _adapter() -> Any:
    """Pydantic's way to write any value, models among them; None without pydantic."""
    pydantic = find_pydantic()
    return None if pydantic is None else pydantic.TypeAdapter(Any)
