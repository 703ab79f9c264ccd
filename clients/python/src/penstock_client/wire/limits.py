"""Every limit of the protocol, with its unit and its reason."""

from typing import Final

PROTOCOL_MAGIC: Final = b"PNSTK"
PROTOCOL_MAJOR: Final = 1
PROTOCOL_MINOR: Final = 0

FRAME_HEADER_BYTES: Final = 12

FRAME_BYTES_MAX_BEFORE_READY: Final = 4 * 1024
"""A peer that has not authenticated may send hello and auth only; neither needs more."""

CONTROL_BYTES_MAX: Final = 64 * 1024
"""A control map (declare, describe, ...): larger than any honest one, small enough to decode without a stall."""

BODY_BYTES_MAX_DEFAULT: Final = 1024 * 1024
BODY_BYTES_MAX_LIMIT: Final = 64 * 1024 * 1024
"""The most that ``body_bytes_max`` may be configured to: a message is held whole in memory on its way through."""

BLOCK_BYTES_MULTI_MAX: Final = 256 * 1024
"""A block of more than one message. It bounds how far "block bytes / count" can misjudge one message's size for
byte credit, and how much is decoded when a block is delivered in part. A larger body travels in a block of its own."""

BLOCK_COUNT_MAX: Final = 4096
"""Messages in one block: bounds the time to decode one."""

ENVELOPE_BYTES_MAX: Final = 128 * 1024
"""Key, headers, properties and routing of a single-message block, together; added to the body limit."""

FRAME_BYTES_MAX_SLACK: Final = 1024 * 1024
"""A data frame may hold many blocks; it is at most body_bytes_max + this."""

FRAME_BYTES_MAX_LIMIT: Final = BODY_BYTES_MAX_LIMIT + FRAME_BYTES_MAX_SLACK
"""The most a client lets a server announce: what the largest configurable body needs."""

PUBLISH_ENTRIES_MAX: Final = 2048
"""Blocks in one publish frame: bounds the loop's longest step (each costs the broker some microseconds)."""

REPLY_ENTRIES_MAX: Final = 2048
"""Blocks in one reply frame: bounds the loop's longest step, as for publishes."""

NAME_BYTES_MAX: Final = 255
"""Queue, exchange and group names (AMQP 0-9-1 short string)."""

KEY_BYTES_MAX: Final = 1024
REASON_BYTES_MAX: Final = 4096
"""One failure's reason; longer ones are cut, marked by an ellipsis."""

FAILURE_HISTORY_MAX: Final = 16
"""Failures kept per message: the first and the latest fifteen."""

SETTLE_RANGES_MAX: Final = 65_536
"""Tag ranges in one settle frame: bounds the loop's longest step."""

HANDLES_PER_SESSION_MAX: Final = 65_536
"""Routes, and consumers, of one connection."""

HEARTBEAT_MS_DEFAULT: Final = 10_000
HEARTBEAT_MS_MIN: Final = 500
"""Either side sends something at least this often; a peer silent for two intervals is dead."""

STATE_VALUE_BYTES_MAX: Final = 4096
"""One value in the state of a group: a cursor of another system, a small document."""

STATE_WRITES_MAX: Final = 10_000
"""State writes in one transact frame: as many operations as a transaction may have unless configured."""
