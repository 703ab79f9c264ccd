"""Message bodies that say who they are: a number, then filler that follows from it, so that any change shows (I6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.sim.violation import Violation

from penstock.core.matching import MessageView
from penstock.selectors import parse_selector
from penstock_client.wire import blocks

_FILLER = bytes(range(33, 127)) * 64
_SIZES = (0, 1, 7, 40, 40, 100, 100, 300, 600, 1500)


def body_of(uid: int) -> bytes:
    """Return the body of message ``uid``."""
    start = uid % 94
    return b"%d|" % uid + _FILLER[start : start + _SIZES[uid * 7 % 10]]


def id_of(uid: int) -> str | None:
    """Return the message id of message ``uid``; some have none."""
    return f"id-{uid}" if uid % 7 else None


def key_of(uid: int) -> str | None:
    """Return the key of message ``uid``; some have none."""
    return f"key-{uid * 5 % 13 % 6}" if uid % 11 else None


SELECTOR = parse_selector("n = 1")


def is_selected(uid: int) -> bool:
    """Whether ``SELECTOR`` selects message ``uid``."""
    return uid % 3 == 1


def headers_of(uid: int) -> dict[str, Any] | None:
    """Return the headers of message ``uid``; some have none."""
    return {"n": uid % 3} if uid % 6 else None


def block_of(
    uids: Sequence[int],
    with_ids: bool = False,
    reply_to: str = "",
    asks: Sequence[dict[str, Any] | None] | None = None,
) -> bytes:
    """Return a block of these messages; with a reply address they are requests; ``asks`` are asked of the broker."""
    ids = [id_of(uid) if with_ids else None for uid in uids]
    properties: list[dict[str, Any]] = [{"message_id": one} if one else {} for one in ids]
    if reply_to:
        properties = [{**one, "reply_to": reply_to} for one in properties]
    if asks is not None:
        properties = [one | (ask or {}) for one, ask in zip(properties, asks, strict=True)]
    columns = [one or None for one in properties] if any(properties) else None
    keys = [key_of(uid) for uid in uids]
    headers = [headers_of(uid) for uid in uids]
    return blocks.encode_block([body_of(uid) for uid in uids], keys=keys, headers=headers, properties=columns)


def addresses_in(block: bytes) -> set[str]:
    """Return where the messages of a block want their replies."""
    columns = blocks.decode_properties(block) or ()
    return {properties["reply_to"] for properties in columns if properties and "reply_to" in properties}


def view_of(uid: int) -> MessageView:
    """Return the key and headers of message ``uid``, where it is published through an exchange."""
    looks = {"shape": "round" if uid // 4 % 2 else "square", "size": uid // 2 % 3}
    return MessageView(key_of(uid), looks | (headers_of(uid) or {}))


def routed_block_of(
    uids: Sequence[int], way: tuple[str, str] | None, asks: Sequence[dict[str, Any] | None] | None = None
) -> bytes:
    """Return a block of these messages with ids, keys and headers, and with the way that it comes, or not."""
    views = [view_of(uid) for uid in uids]
    columns = [view.key for view in views], [view.headers for view in views]
    ids = [{"message_id": one} if (one := id_of(uid)) else {} for uid in uids]
    properties = [(one | (ask or {})) or None for one, ask in zip(ids, asks or [None] * len(ids), strict=True)]
    return blocks.encode_block([body_of(uid) for uid in uids], *columns, properties, way)


def uids_of(block: bytes) -> tuple[int, ...]:
    """Return which messages a block holds; raises Violation (I6) when a body is not what was published."""
    return tuple([_uid_of(body) for body in blocks.decode_bodies(block)])


def _uid_of(body: bytes) -> int:
    number = body.partition(b"|")[0]
    if not number.isdigit() or body != body_of(int(number)):
        raise Violation("I6", f"a body that no one published: {body[:60]!r}")
    return int(number)
