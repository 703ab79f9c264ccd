"""Write ``vectors.json``: frames with what they mean, and bytes that must be refused. See README.md beside this file.

python -m clients.conformance.generate
"""

import json
from pathlib import Path
from typing import Any, Final

from clients.conformance.control_samples import COMMANDS, CONNECTION, GROUPS
from clients.conformance.data_samples import DATA, REFUSED
from clients.conformance.exchange_samples import EXCHANGES
from clients.conformance.namespace_samples import NAMESPACES
from clients.conformance.sample import Refused, Sample

from penstock_client.wire import control
from penstock_client.wire.blocks import decode_block
from penstock_client.wire.entries import decode_confirm, decode_deliver, decode_publish, decode_settle, decode_stale
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import PREAMBLE, FrameReader, FrameType, encode_frame
from penstock_client.wire.limits import PROTOCOL_MAJOR, PROTOCOL_MINOR
from penstock_client.wire.replies import decode_replied, decode_reply
from penstock_client.wire.transaction import decode_transaction

VECTORS: Final = Path(__file__).with_name("vectors.json")


def plain(value: Any) -> Any:
    """Return a value as JSON can say it: bytes become {"hex": ...}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: plain(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    return value


def block_document(block: bytes) -> dict[str, Any]:
    """Return the columns of a block."""
    return {"block_bytes": len(block), "columns": plain(decode_block(block)._asdict())}


def decoded(frame_type: int, payload: bytes) -> Any:
    """Return what a payload says, by the decoders of the package."""
    if frame_type in (FrameType.PING, FrameType.PONG, FrameType.CLOSED):
        return {"payload": plain(payload)}
    if frame_type == FrameType.PUBLISH:
        return [_with_block(entry._asdict()) for entry in decode_publish(payload)]
    if frame_type in (FrameType.DELIVER, FrameType.PEEKED):
        return [_with_block(entry._asdict()) for entry in decode_deliver(payload)]
    if frame_type == FrameType.CONFIRM:
        return [entry._asdict() for entry in decode_confirm(payload)]
    if frame_type == FrameType.SETTLE:
        return plain(decode_settle(payload)._asdict())
    if frame_type == FrameType.STALE:
        outcome, ranges = decode_stale(payload)
        return {"outcome": outcome, "ranges": plain(ranges)}
    if frame_type == FrameType.REPLY:
        return [_with_block(entry._asdict()) for entry in decode_reply(payload)]
    if frame_type == FrameType.REPLIED:
        return [_with_block(entry._asdict()) for entry in decode_replied(payload)]
    if frame_type == FrameType.TRANSACT:
        acks, blocks, writes = decode_transaction(payload)
        entries = [_with_block(entry._asdict()) for entry in blocks]
        return {"acks": plain(acks), "blocks": entries, "writes": [plain(write._asdict()) for write in writes]}
    return plain(control.unpack(payload))


def _with_block(entry: dict[str, Any]) -> dict[str, Any]:
    block = entry.pop("block")
    return {**entry, "block": block_document(block)}


def frame_document(sample: Sample) -> dict[str, Any]:
    """Return one element of ``frames``."""
    payload = control.pack(sample.content) if isinstance(sample.content, dict) else sample.content
    data = encode_frame(sample.type, payload, sample.request)
    (frame,) = FrameReader(2**20).feed(PREAMBLE + data)
    return {
        "name": sample.name,
        "description": sample.description,
        "direction": sample.direction,
        "bytes": data.hex(),
        "type": sample.type.name,
        "type_number": int(sample.type),
        "request": frame.request,
        "decoded": decoded(frame.type, frame.payload),
    }


def refused_document(refused: Refused) -> dict[str, Any]:
    """Return one element of ``refused``."""
    return {
        "name": refused.name,
        "description": refused.description,
        "direction": refused.direction,
        "bytes": refused.data.hex(),
        "error": refused.code.label,
        "code": int(refused.code),
    }


def document() -> dict[str, Any]:
    """Return everything that ``vectors.json`` holds."""
    return {
        "protocol": f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}",
        "preamble": PREAMBLE.hex(),
        "error_codes": {code.label: int(code) for code in ErrorCode},
        "frames": [frame_document(sample) for sample in CONNECTION + COMMANDS + GROUPS + EXCHANGES + NAMESPACES + DATA],
        "refused": [refused_document(refused) for refused in REFUSED],
    }


def text() -> str:
    """Return the file's content."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    VECTORS.write_text(text(), encoding="utf-8")
