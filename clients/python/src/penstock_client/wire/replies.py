"""The frames of replies: REPLY from who answers, REPLIED to who asked. Little-endian; replies travel in memory only.

REPLY is a run of entries, each a block for one reply address:

    | address bytes u16 | 0 u16 | address, UTF-8 |  block ...

REPLIED is a run of entries, each a block that was sent to the address of this session:

    | replied at, ms since 1970 u64 |  block ...

Every message of a block carries the property ``correlation_id`` of the request that it answers, and, where the request
failed, the property ``error``: a map ``{code: str, message: str}``.
"""

import struct
from typing import Final, NamedTuple

from penstock_client.wire.blocks import block_extent
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.limits import NAME_BYTES_MAX, REPLY_ENTRIES_MAX

REPLY_ENTRY: Final = struct.Struct("<HH")
REPLIED_ENTRY: Final = struct.Struct("<Q")

ADDRESS_PREFIX: Final = "$reply."
"""What every reply address begins with, and no queue's name does."""


class Reply(NamedTuple):
    """One entry of a REPLY frame."""

    address: str
    count: int  # type: ignore[assignment] # the protocol's word; a tuple's own count() is not used
    block: bytes


class Replied(NamedTuple):
    """One entry of a REPLIED frame."""

    replied_at_ms: int
    count: int  # type: ignore[assignment] # the protocol's word; a tuple's own count() is not used
    block: bytes


def encode_reply_entry(address: str) -> bytes:
    """Return the head of an entry; its block follows it. Raises ValueError for what cannot be an address."""
    encoded = address.encode("utf-8", "surrogateescape")
    if not 0 < len(encoded) <= NAME_BYTES_MAX:
        raise ValueError(f"a reply address of {len(encoded)} bytes; it has 1 to {NAME_BYTES_MAX}")
    return REPLY_ENTRY.pack(len(encoded), 0) + encoded


def decode_reply(payload: bytes) -> list[Reply]:
    """Split a REPLY payload, at most REPLY_ENTRIES_MAX entries. Raises WireError (MALFORMED_FRAME) otherwise.

    An address that is not UTF-8 is decoded all the same: it is nobody's.
    """
    entries: list[Reply] = []
    start, size, header = 0, len(payload), REPLY_ENTRY.size
    while start < size:
        if size - start < header:
            raise WireError(ErrorCode.MALFORMED_FRAME, "a reply frame ends inside an entry")
        address_bytes, zero = REPLY_ENTRY.unpack_from(payload, start)
        if not 0 < address_bytes <= NAME_BYTES_MAX or zero:
            raise WireError(ErrorCode.MALFORMED_FRAME, "a reply entry has no address or reserved bits set")
        if len(entries) == REPLY_ENTRIES_MAX:
            raise WireError(ErrorCode.MALFORMED_FRAME, f"a reply frame of more than {REPLY_ENTRIES_MAX} entries")
        block_at = start + header + address_bytes
        address = payload[start + header : block_at].decode("utf-8", "replace")
        start, count = block_extent(payload, block_at)
        entries.append(Reply(address, count, payload[block_at:start]))
    return entries


def decode_replied(payload: bytes) -> list[Replied]:
    """Split a REPLIED payload. Raises WireError (MALFORMED_FRAME)."""
    entries: list[Replied] = []
    start, size, header = 0, len(payload), REPLIED_ENTRY.size
    while start < size:
        if size - start < header:
            raise WireError(ErrorCode.MALFORMED_FRAME, "a replied frame ends inside an entry")
        (replied_at_ms,) = REPLIED_ENTRY.unpack_from(payload, start)
        end, count = block_extent(payload, start + header)
        entries.append(Replied(replied_at_ms, count, payload[start + header : end]))
        start = end
    return entries
