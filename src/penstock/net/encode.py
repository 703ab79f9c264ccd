"""Engine effects as bytes on the wire."""

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from penstock_client.wire import control
from penstock_client.wire.entries import CONFIRM_ENTRY, DELIVER_ENTRY, TagRange, encode_stale
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import FrameType, encode_frame, encode_frame_header
from penstock_client.wire.replies import REPLIED_ENTRY

if TYPE_CHECKING:
    from penstock.core.values import Refusal
    from penstock.engine.interface import ConfirmEntry, DeliveryOut

CONFIRMS_PER_FRAME_MAX: Final = 16_384
"""640 KiB: a confirm frame stays below any ``frame_bytes_max``."""

_ONE_CONFIRM: Final = struct.Struct("<IBBHI" + CONFIRM_ENTRY.format.removeprefix("<"))
_CODES: Final = {code.label: code for code in ErrorCode} | {"": 0}


def code_of(label: str) -> ErrorCode:
    """Return the number of an error label; a label the protocol does not know is an internal error."""
    return ErrorCode(_CODES.get(label) or ErrorCode.INTERNAL)


def encode_confirms(entries: "Sequence[ConfirmEntry]") -> list[bytes]:
    """Return the CONFIRM frames of these entries; nearly always one."""
    if len(entries) == 1:
        route, status, level, label, sequence, count, offset = entries[0]
        code = _CODES[label]
        size = CONFIRM_ENTRY.size
        return [
            _ONE_CONFIRM.pack(
                size, FrameType.CONFIRM, 0, 0, 0, route, status, level, code, sequence, count, 0, 0, offset
            )
        ]
    pack = CONFIRM_ENTRY.pack
    frames: list[bytes] = []
    for start in range(0, len(entries), CONFIRMS_PER_FRAME_MAX):
        packed = [
            pack(route, status, level, _CODES[label], sequence, count, 0, 0, offset)
            for route, status, level, label, sequence, count, offset in entries[start : start + CONFIRMS_PER_FRAME_MAX]
        ]
        frames.append(encode_frame(FrameType.CONFIRM, b"".join(packed)))
    return frames


def encode_deliveries(entries: "Sequence[DeliveryOut]", frame_bytes_max: int) -> list[bytes]:
    """Return DELIVER frames as buffers to be written one after the other; the blocks are not copied."""
    buffers: list[bytes] = []
    payload: list[bytes] = []
    payload_bytes = 0
    for entry in entries:
        entry_bytes = DELIVER_ENTRY.size + len(entry.block)
        if payload and payload_bytes + entry_bytes > frame_bytes_max:
            buffers += (encode_frame_header(FrameType.DELIVER, payload_bytes), *payload)
            payload, payload_bytes = [], 0
        payload += _entry_parts(entry)
        payload_bytes += entry_bytes
    if payload:
        buffers += (encode_frame_header(FrameType.DELIVER, payload_bytes), *payload)
    return buffers


def encode_peeked(request: int, entries: "Sequence[DeliveryOut]") -> list[bytes]:
    """Return the one PEEKED frame that answers ``request``, as buffers."""
    payload = [part for entry in entries for part in _entry_parts(entry)]
    return [encode_frame_header(FrameType.PEEKED, sum(map(len, payload)), request), *payload]


def _entry_parts(entry: "DeliveryOut") -> tuple[bytes, bytes]:
    consumer, attempt, failures, first_tag, offset, published_at_ms, lease_ms, block, _ = entry
    header = DELIVER_ENTRY.pack(consumer, attempt, failures, 0, first_tag, offset, published_at_ms, lease_ms, 0)
    return header, block


def encode_replied(replied_at_ms: int, blocks: Sequence[bytes], frame_bytes_max: int) -> list[bytes]:
    """Return REPLIED frames as buffers to be written one after the other; the blocks are not copied."""
    head = REPLIED_ENTRY.pack(replied_at_ms)
    buffers: list[bytes] = []
    payload: list[bytes] = []
    payload_bytes = 0
    for block in blocks:
        entry_bytes = len(head) + len(block)
        if payload and payload_bytes + entry_bytes > frame_bytes_max:
            buffers += (encode_frame_header(FrameType.REPLIED, payload_bytes), *payload)
            payload, payload_bytes = [], 0
        payload += (head, block)
        payload_bytes += entry_bytes
    return [*buffers, encode_frame_header(FrameType.REPLIED, payload_bytes), *payload]


def encode_reply(request: int, result: dict[str, Any]) -> bytes:
    """Return the OK frame that answers ``request``."""
    return encode_frame(FrameType.OK, control.pack(result), request)


def encode_refusal(request: int, error: "Refusal") -> bytes:
    """Return the ERROR frame that answers ``request``."""
    return encode_frame(FrameType.ERROR, control.pack(_error_map(error)), request)


def encode_cancelled(consumer: int, error: "Refusal") -> bytes:
    """Return the CANCELLED frame that ends a consumer."""
    return encode_frame(FrameType.CANCELLED, control.pack({"consumer": consumer, **_error_map(error)}))


def encode_stale_frame(outcome: int, ranges: Sequence[TagRange]) -> bytes:
    """Return the STALE frame for a settle that asked for no reply."""
    return encode_frame(FrameType.STALE, encode_stale(outcome, ranges))


def _error_map(error: "Refusal") -> dict[str, Any]:
    code = code_of(error.code)
    return {"code": int(code), "error": code.label, "message": error.message}
