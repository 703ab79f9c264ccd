"""Error codes of the protocol: a stable number for frames, a stable name for people and logs."""

from enum import IntEnum
from typing import Any


class ErrorCode(IntEnum):
    """Why something was refused. Numbers below 100 end the connection; the others end one command only, or with CLOSE
    the attempt to be connected to a namespace.
    """

    PROTOCOL_VERSION = 1
    MALFORMED_FRAME = 2
    FRAME_TOO_LARGE = 3
    UNEXPECTED_FRAME = 4
    AUTHENTICATION_FAILED = 5
    HANDSHAKE_TIMEOUT = 6
    HEARTBEAT_TIMEOUT = 7
    TOO_MANY_CONNECTIONS = 8
    SERVER_STOPPING = 9
    STORAGE_FAILED = 10
    SLOW_PEER = 11
    CLOSED_BY_OPERATOR = 12

    UNKNOWN_QUEUE = 100
    BAD_NAME = 101
    SETTINGS_DIFFER = 102
    BAD_SETTING = 103
    QUEUE_DELETED = 104
    QUEUE_NOT_EMPTY = 105
    QUEUE_IN_USE = 106
    UNKNOWN_CONSUMER = 107
    CONSUMER_EXISTS = 108
    UNKNOWN_ROUTE = 109
    NO_PRODUCER = 110
    PRODUCER_EXPIRED = 111
    SEQUENCE_ORDER = 112
    BODY_TOO_LARGE = 113
    BAD_BLOCK = 114
    STALE_DELIVERY = 115
    DISK_FULL = 116
    WINDOW_EXCEEDED = 117
    LIMIT_REACHED = 118
    UNKNOWN_EXCHANGE = 119
    UNKNOWN_GROUP = 120
    UNSUPPORTED = 121
    INTERNAL = 122
    GROUP_DELETED = 123
    GROUP_IN_USE = 124
    EXCLUSIVE_CONSUMER = 125
    BAD_SELECTOR = 126
    UNROUTABLE = 127
    BAD_BINDING = 128
    EXCHANGE_IN_USE = 129
    NOT_SCHEDULED = 130
    UNKNOWN_MESSAGE = 131
    UNKNOWN_SCHEDULE = 132
    QUEUE_FULL = 140
    MEMORY_FULL = 141
    TRANSACTION_STALE = 150
    TRANSACTION_CONFLICT = 151
    TRANSACTION_TOO_LARGE = 152
    UNKNOWN_SESSION = 160
    CONSUMER_CLOSED = 161
    NOT_LEASED = 162
    MESSAGE_DYING = 163
    MESSAGE_LEASED = 164
    NOT_DEAD = 165
    UNKNOWN_NAMESPACE = 170
    NAMESPACE_FULL = 171
    NAMESPACE_IN_USE = 172

    @property
    def fatal(self) -> bool:
        """True when the connection ends with this error."""
        return self < 100

    @property
    def label(self) -> str:
        """The name in logs, CLI output and documents, such as ``unknown-queue``."""
        return self.name.lower().replace("_", "-")


class WireError(Exception):
    """The peer's bytes break the protocol. Carries the code to answer with."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def as_map(self) -> dict[str, Any]:
        """The map of an ERROR or CLOSE frame."""
        return {"code": int(self.code), "error": self.code.label, "message": self.message}
