"""What a conformance vector is made of."""

from typing import Any, Final, NamedTuple

from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import FrameType

CLIENT: Final = "client-to-server"
SERVER: Final = "server-to-client"
BOTH: Final = "both"
TIME_MS: Final = 1_767_225_600_123


class Sample(NamedTuple):
    """One frame: its payload given as bytes, for a control map as the map."""

    name: str
    type: FrameType
    direction: str
    description: str
    content: bytes | dict[str, Any]
    request: int = 0


class Refused(NamedTuple):
    """Bytes after a preamble that a receiver refuses with ``code``."""

    name: str
    direction: str
    description: str
    data: bytes
    code: ErrorCode


def error_map(code: ErrorCode, message: str) -> dict[str, Any]:
    """The map of ERROR and CLOSE."""
    return WireError(code, message).as_map()
