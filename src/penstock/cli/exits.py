"""Exit codes (sysexits.h) and the errors of the command line: what happened, where, what to do."""

from enum import IntEnum
from typing import Final

from penstock_client.wire.errors import ErrorCode


class ExitCode(IntEnum):
    """What a ``penstock`` process ends with."""

    OK = 0
    USAGE = 64
    DATA = 65
    NO_INPUT = 66
    UNAVAILABLE = 69
    SOFTWARE = 70
    OS_ERROR = 71
    CANNOT_CREATE = 73
    IO_ERROR = 74
    TEMPORARY = 75
    PROTOCOL = 76
    NO_PERMISSION = 77
    CONFIG = 78
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class CommandError(Exception):
    """A command that cannot go on. Shown as ``penstock: <what happened>. <what to do>`` on standard error.

    ``detail`` stands below, as it is: lines that point at a place.
    """

    def __init__(self, exit_code: ExitCode, happened: str, advice: str = "", detail: str = "") -> None:
        super().__init__(happened)
        self.exit_code = exit_code
        self.happened = happened
        self.advice = advice
        self.detail = detail

    def line(self) -> str:
        """Return the whole error in one line."""
        happened = " ".join(self.happened.split()).rstrip(".")
        return f"{happened}. {self.advice}" if self.advice else happened


_EXITS: Final[dict[ErrorCode, tuple[ExitCode, str]]] = {
    ErrorCode.PROTOCOL_VERSION: (ExitCode.PROTOCOL, "Use a client and a broker of the same major version."),
    ErrorCode.MALFORMED_FRAME: (ExitCode.PROTOCOL, ""),
    ErrorCode.FRAME_TOO_LARGE: (ExitCode.DATA, "Send less at once, or raise body_bytes_max on the broker."),
    ErrorCode.UNEXPECTED_FRAME: (ExitCode.PROTOCOL, ""),
    ErrorCode.AUTHENTICATION_FAILED: (ExitCode.NO_PERMISSION, "Check the user and password in --url."),
    ErrorCode.HANDSHAKE_TIMEOUT: (ExitCode.UNAVAILABLE, "Is the port a Penstock broker's, and is it overloaded?"),
    ErrorCode.HEARTBEAT_TIMEOUT: (ExitCode.UNAVAILABLE, "The network or one of the processes stalled; try again."),
    ErrorCode.TOO_MANY_CONNECTIONS: (ExitCode.TEMPORARY, "Try again later, or raise the broker's connection limit."),
    ErrorCode.SERVER_STOPPING: (ExitCode.TEMPORARY, "Try again once it runs."),
    ErrorCode.STORAGE_FAILED: (ExitCode.IO_ERROR, "The broker's log says what failed; check its disk, restart it."),
    ErrorCode.SLOW_PEER: (ExitCode.UNAVAILABLE, ""),
    ErrorCode.UNKNOWN_QUEUE: (
        ExitCode.NO_INPUT,
        'See "penstock queue list", or create it with "penstock queue declare".',
    ),
    ErrorCode.UNKNOWN_MESSAGE: (ExitCode.NO_INPUT, 'See "penstock queue peek", and the dead-letter queue if it died.'),
    ErrorCode.BAD_NAME: (ExitCode.USAGE, "A name is 1 to 255 bytes of UTF-8 without control characters."),
    ErrorCode.SETTINGS_DIFFER: (
        ExitCode.CONFIG,
        'Give the settings it has, which "show" tells, or delete it first.',
    ),
    ErrorCode.BAD_SETTING: (ExitCode.USAGE, ""),
    ErrorCode.QUEUE_DELETED: (ExitCode.NO_INPUT, ""),
    ErrorCode.QUEUE_NOT_EMPTY: (ExitCode.TEMPORARY, ""),
    ErrorCode.QUEUE_IN_USE: (ExitCode.TEMPORARY, "Stop its consumers first, or delete without --if-unused."),
    ErrorCode.PRODUCER_EXPIRED: (ExitCode.TEMPORARY, "Publish again; what was not confirmed may be there already."),
    ErrorCode.BODY_TOO_LARGE: (ExitCode.DATA, "Send a smaller body, or raise body_bytes_max on the broker."),
    ErrorCode.BAD_BLOCK: (ExitCode.DATA, ""),
    ErrorCode.NOT_SCHEDULED: (ExitCode.NO_INPUT, 'See "penstock queue scheduled" for what waits.'),
    ErrorCode.UNKNOWN_SCHEDULE: (ExitCode.NO_INPUT, 'See "penstock schedule list".'),
    ErrorCode.STALE_DELIVERY: (ExitCode.TEMPORARY, "Its lease ended; the message is delivered again."),
    ErrorCode.DISK_FULL: (ExitCode.TEMPORARY, "Free space on the broker's disk; it goes on by itself."),
    ErrorCode.MEMORY_FULL: (ExitCode.TEMPORARY, "It goes on by itself when consumers have made room."),
    ErrorCode.QUEUE_FULL: (ExitCode.TEMPORARY, "Publish again when consumers have made room."),
    ErrorCode.UNKNOWN_NAMESPACE: (ExitCode.NO_INPUT, 'See "penstock namespace list".'),
    ErrorCode.NAMESPACE_FULL: (ExitCode.TEMPORARY, ""),
    ErrorCode.NAMESPACE_IN_USE: (ExitCode.TEMPORARY, ""),
    ErrorCode.LIMIT_REACHED: (ExitCode.TEMPORARY, ""),
    ErrorCode.UNKNOWN_CONSUMER: (ExitCode.NO_INPUT, 'See "penstock consumer list".'),
    ErrorCode.UNKNOWN_EXCHANGE: (
        ExitCode.NO_INPUT,
        'See "penstock exchange list", or create it with "penstock exchange declare".',
    ),
    ErrorCode.UNKNOWN_GROUP: (
        ExitCode.NO_INPUT,
        'See "penstock group list", or create it with "penstock group declare".',
    ),
    ErrorCode.GROUP_DELETED: (ExitCode.NO_INPUT, ""),
    ErrorCode.GROUP_IN_USE: (ExitCode.TEMPORARY, "Stop its consumers first, or delete without --if-unused."),
    ErrorCode.EXCLUSIVE_CONSUMER: (ExitCode.TEMPORARY, ""),
    ErrorCode.CLOSED_BY_OPERATOR: (ExitCode.TEMPORARY, ""),
    ErrorCode.CONSUMER_CLOSED: (ExitCode.TEMPORARY, ""),
    ErrorCode.UNKNOWN_SESSION: (ExitCode.NO_INPUT, 'See "penstock connection list".'),
    ErrorCode.MESSAGE_LEASED: (ExitCode.TEMPORARY, 'See "penstock queue revoke".'),
    ErrorCode.MESSAGE_DYING: (ExitCode.TEMPORARY, 'See "penstock queue find QUEUE --state dead".'),
    ErrorCode.NOT_DEAD: (ExitCode.DATA, ""),
    ErrorCode.NOT_LEASED: (ExitCode.NO_INPUT, 'See "penstock queue find QUEUE --state leased".'),
    ErrorCode.UNSUPPORTED: (ExitCode.UNAVAILABLE, "Not possible here, or the broker is older than this command."),
    ErrorCode.UNROUTABLE: (ExitCode.NO_INPUT, 'See what is bound with "penstock exchange show".'),
    ErrorCode.BAD_BINDING: (ExitCode.USAGE, ""),
    ErrorCode.EXCHANGE_IN_USE: (ExitCode.TEMPORARY, "Unbind what is bound to it, or delete without --if-unused."),
    ErrorCode.BAD_SELECTOR: (ExitCode.USAGE, ""),
    ErrorCode.TRANSACTION_STALE: (ExitCode.TEMPORARY, ""),
    ErrorCode.TRANSACTION_CONFLICT: (ExitCode.TEMPORARY, ""),
    ErrorCode.TRANSACTION_TOO_LARGE: (ExitCode.DATA, ""),
    ErrorCode.INTERNAL: (ExitCode.SOFTWARE, "The broker's log has the details."),
}


def exit_for(code: ErrorCode) -> tuple[ExitCode, str]:
    """Return the exit code and the advice for an error the broker answered with."""
    return _EXITS.get(code, (ExitCode.SOFTWARE, ""))
