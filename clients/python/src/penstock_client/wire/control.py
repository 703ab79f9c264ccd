"""Control maps: the msgpack payloads of every frame that is not a data frame."""

from typing import Any

import msgpack

from penstock_client.wire import structure
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.limits import CONTROL_BYTES_MAX


def pack(value: dict[str, Any]) -> bytes:
    """Return the msgpack bytes of a control map."""
    return msgpack.packb(value, use_bin_type=True)  # type: ignore[no-any-return]


def unpack(payload: bytes, bytes_max: int = CONTROL_BYTES_MAX) -> dict[str, Any]:
    """Decode a control map; raises WireError (MALFORMED_FRAME) for anything else. Extension types are refused.

    A client gives the connection's frame limit as ``bytes_max``: a broker's replies may be larger than any request.
    """
    if len(payload) > bytes_max:
        raise WireError(ErrorCode.FRAME_TOO_LARGE, f"a control map of {len(payload)} bytes; at most {bytes_max}")
    try:
        if structure.value_ends(payload) != [len(payload)]:
            raise ValueError("bytes follow the map")
        value = structure.build(payload)
    except ValueError as error:
        raise WireError(ErrorCode.MALFORMED_FRAME, f"a control map that cannot be decoded: {error}") from error
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise WireError(ErrorCode.MALFORMED_FRAME, "a control payload must be a msgpack map with str keys")
    return value
