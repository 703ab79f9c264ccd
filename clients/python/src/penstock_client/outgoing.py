"""From messages to blocks. What a message carries is encoded where it is sent, so that a value msgpack has no form for
is an error there and nowhere else, and later changes to a header map change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from types import NoneType
from typing import Final

import msgpack

from penstock_client.message import Message, Publishable
from penstock_client.wire import structure
from penstock_client.wire.blocks import (
    ASKS,
    BLOCK_HEADER,
    BLOCK_HEADER_BYTES,
    COLUMN_BODIES,
    COLUMN_HEADERS,
    COLUMN_KEYS,
    COLUMN_PROPERTIES,
    COLUMN_ROUTING,
    encode_block,
)
from penstock_client.wire.limits import BLOCK_BYTES_MULTI_MAX, ENVELOPE_BYTES_MAX, KEY_BYTES_MAX

_NIL: Final = b"\xc0"
_COLUMN_BITS: Final = (COLUMN_KEYS, COLUMN_HEADERS, COLUMN_PROPERTIES, COLUMN_ROUTING)
_COLUMNS_BYTES: Final = 3 * 5
"""Array headers of the columns beside the bodies: part of the envelope of a message that is alone in its block."""


Packed = tuple[bytes, bytes, bytes, bytes]
"""A body, and its key, headers and properties in msgpack: a plain tuple, because one is made for each message."""


class PackedAsking(tuple[bytes, bytes, bytes, bytes]):
    """The same of a message that asks the broker for something: a subclass, so that others pay nothing for it."""

    ask: tuple[str, int] | None
    """When it is to be delivered, as a property; None: at once."""


Outgoing = bytes | Packed
"""A message ready to be put into a block."""

_packer: Final = msgpack.Packer(use_bin_type=True, unicode_errors="surrogateescape", autoreset=True)


def prepare(message: Publishable) -> Outgoing:
    """Return a message ready for a block. Raises TypeError or ValueError for what cannot be published."""
    if type(message) is bytes:
        return message
    if isinstance(message, Message):
        return _packed(message)
    return as_bytes(message)


def body_bytes(message: Outgoing) -> int:
    """Return the size of a message's body."""
    return len(message if isinstance(message, bytes) else message[0])


def size_bytes(message: Outgoing) -> int:
    """Return about how many bytes a message takes in its block."""
    return len(message) if isinstance(message, bytes) else sum(map(len, message))


def as_bytes(body: object) -> bytes:
    """Return a body as bytes. Raises TypeError for what is no body."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise TypeError(f"a body is bytes, not {type(body).__name__}; encode it first")


def _packed(message: Message) -> Outgoing:
    body = as_bytes(message.body)
    what = "a key"
    try:
        if not isinstance(message.key, (str, NoneType)):  # who reads its neighbours in the block could not, either
            raise TypeError(f"a text is wanted, not {message.key!r:.100}")
        key = _NIL if message.key is None else _packer.pack(message.key)
        what = "headers"
        if not isinstance(message.headers, (dict, NoneType)):
            raise TypeError(f"a dict is wanted, not {message.headers!r:.100}")
        headers = _packer.pack(message.headers) if message.headers else _NIL
        what = "properties"
        properties = message.properties()
        packed = (body, key, headers, _packer.pack(properties) if properties else _NIL)
    except (TypeError, ValueError, OverflowError) as error:
        _packer.reset()
        raise type(error)(f"{what} that cannot be published: {error}") from error
    _check_envelope(len(key), size_bytes(packed) - len(body) + _COLUMNS_BYTES)
    ask = message.ask()
    if ask is not None or message.has_terms:
        asking = PackedAsking(packed)
        asking.ask = ask
        return asking
    return body if key is headers is packed[3] is _NIL else packed


def _check_envelope(key_bytes: int, envelope_bytes: int) -> None:
    if key_bytes > KEY_BYTES_MAX + 3:
        raise ValueError(f"a key of {key_bytes} bytes; at most {KEY_BYTES_MAX} are allowed")
    if envelope_bytes > ENVELOPE_BYTES_MAX:
        raise ValueError(
            f"key, headers and properties take {envelope_bytes} bytes; at most {ENVELOPE_BYTES_MAX} are allowed:"
            " put large things into the body"
        )


def encode_parts(messages: Sequence[Outgoing], routing: bytes = b"") -> list[tuple[bytes, int]]:
    """Return (block, message count) of these messages in order: one, or more where a block would be too large.

    What is to be delivered at another time than its neighbour is in another block: the broker stores a block whole.
    ``routing`` is the routing column that each of them carries.
    """
    if PackedAsking in set(map(type, messages)):
        return [part for run in _runs(messages) for part in _encode_run(run, routing)]
    return _encode_run(messages, routing)


def _runs(messages: Sequence[Outgoing]) -> list[list[Outgoing]]:
    return [list(run) for _, run in groupby(messages, _ask)]


def _ask(message: Outgoing) -> tuple[str, int] | None:
    return message.ask if isinstance(message, PackedAsking) else None


def _encode_run(messages: Sequence[Outgoing], routing: bytes) -> list[tuple[bytes, int]]:
    block = _encode(messages, routing)
    if len(messages) == 1 or len(block) <= BLOCK_BYTES_MULTI_MAX:
        return [(block, len(messages))]
    half = len(messages) // 2
    return _encode_run(messages[:half], routing) + _encode_run(messages[half:], routing)


def _with_routing(block: bytes, count: int, routing: bytes) -> bytes:
    """Return a block of bodies alone with a routing column: put together without taking it apart."""
    sizes = len(block) - BLOCK_HEADER_BYTES, 0, 0, 0, len(routing)
    head = BLOCK_HEADER.pack(len(block) + len(routing), count, COLUMN_BODIES | COLUMN_ROUTING, 0, *sizes)
    return b"".join((head, memoryview(block)[BLOCK_HEADER_BYTES:], routing))


def _encode(messages: Sequence[Outgoing], routing: bytes) -> bytes:
    if set(map(type, messages)) == {bytes}:
        block = encode_block(messages)  # type: ignore[arg-type]
        return _with_routing(block, len(messages), routing) if routing else block
    whole = [(message, _NIL, _NIL, _NIL) if isinstance(message, bytes) else message for message in messages]
    bodies, *columns = zip(*whole, strict=True)
    body_column = encode_block(bodies)[BLOCK_HEADER_BYTES:]
    header = structure.array_header(len(whole))
    packed = [header + b"".join(column) if column.count(_NIL) < len(column) else b"" for column in columns]
    packed.append(routing)
    bits = COLUMN_BODIES + sum(bit for bit, column in zip(_COLUMN_BITS, packed, strict=True) if column)
    if PackedAsking in set(map(type, messages)):
        bits |= ASKS
    sizes = [len(body_column), *map(len, packed)]
    head = BLOCK_HEADER.pack(BLOCK_HEADER_BYTES + sum(sizes), len(whole), bits, 0, *sizes)
    return b"".join([head, body_column, *packed])
