"""From messages to blocks. What a message carries is encoded where it is sent, so that a value msgpack has no form for
is an error there and nowhere else, and later changes to a header map change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from penstock_client.message import Message, Publishable
from penstock_client.wire import structure
from penstock_client.wire.blocks import (
    BLOCK_HEADER,
    BLOCK_HEADER_BYTES,
    COLUMN_BODIES,
    COLUMN_HEADERS,
    COLUMN_KEYS,
    COLUMN_PROPERTIES,
    encode_block,
)
from penstock_client.wire.limits import BLOCK_BYTES_MULTI_MAX, ENVELOPE_BYTES_MAX, KEY_BYTES_MAX

_NIL: Final = b"\xc0"
_COLUMN_BITS: Final = (COLUMN_KEYS, COLUMN_HEADERS, COLUMN_PROPERTIES)
_COLUMNS_BYTES: Final = 3 * 5
"""Array headers of the columns beside the bodies: part of the envelope of a message that is alone in its block."""


class Packed(NamedTuple):
    """A message whose key, headers and properties are msgpack already."""

    body: bytes
    key: bytes
    headers: bytes
    properties: bytes

    @property
    def size_bytes(self) -> int:
        """All of it."""
        return sum(map(len, self))


Outgoing = bytes | Packed
"""A message ready to be put into a block."""

_packer: Final = msgpack.Packer(use_bin_type=True, unicode_errors="surrogateescape", autoreset=True)


def prepare(message: Publishable) -> Outgoing:
    """Return a message ready for a block. Raises TypeError or ValueError for what cannot be published."""
    if type(message) is bytes:
        return message
    if isinstance(message, Message):
        return _packed(message)
    return _bytes(message)


def size_bytes(message: Outgoing) -> int:
    """Return about how many bytes a message takes in its block."""
    return len(message) if type(message) is bytes else message.size_bytes  # type: ignore[union-attr]


def _bytes(body: object) -> bytes:
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise TypeError(f"a body is bytes, not {type(body).__name__}; encode it first")


def _packed(message: Message) -> Outgoing:
    body = _bytes(message.body)
    properties = message.properties()
    if message.key is None and not message.headers and properties is None:
        return body
    key = _pack("key", message.key)
    headers = _pack("headers", message.headers or None)
    packed = Packed(body, key, headers, _pack("properties", properties))
    if len(key) > KEY_BYTES_MAX + 3:
        raise ValueError(f"a key of {len(key)} bytes; at most {KEY_BYTES_MAX} are allowed")
    envelope_bytes = packed.size_bytes - len(body) + _COLUMNS_BYTES
    if envelope_bytes > ENVELOPE_BYTES_MAX:
        raise ValueError(
            f"key, headers and properties take {envelope_bytes} bytes; at most {ENVELOPE_BYTES_MAX} are allowed:"
            " put large things into the body"
        )
    return packed


def _pack(what: str, value: Any) -> bytes:
    if value is None:
        return _NIL
    try:
        return _packer.pack(value)  # type: ignore[no-any-return]
    except (TypeError, ValueError, OverflowError) as error:
        _packer.reset()
        raise type(error)(f"{what} cannot be published: {error}") from error


def encode_parts(messages: Sequence[Outgoing]) -> list[tuple[bytes, int]]:
    """Return (block, message count) of these messages in order: one, or more where a block would be too large."""
    block = _encode(messages)
    if len(messages) == 1 or len(block) <= BLOCK_BYTES_MULTI_MAX:
        return [(block, len(messages))]
    half = len(messages) // 2
    return encode_parts(messages[:half]) + encode_parts(messages[half:])


def _encode(messages: Sequence[Outgoing]) -> bytes:
    if set(map(type, messages)) == {bytes}:
        return encode_block(messages)  # type: ignore[arg-type]
    whole = [message if isinstance(message, Packed) else Packed(message, _NIL, _NIL, _NIL) for message in messages]
    bodies, *columns = zip(*whole, strict=True)
    body_column = encode_block(bodies)[BLOCK_HEADER_BYTES:]
    header = structure.array_header(len(whole))
    packed = [header + b"".join(column) if any(e != _NIL for e in column) else b"" for column in columns]
    bits = COLUMN_BODIES + sum(bit for bit, column in zip(_COLUMN_BITS, packed, strict=True) if column)
    sizes = [len(body_column), *map(len, packed), 0]
    head = BLOCK_HEADER.pack(BLOCK_HEADER_BYTES + sum(sizes), len(whole), bits, 0, *sizes)
    return b"".join([head, body_column, *packed])
