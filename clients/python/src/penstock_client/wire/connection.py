"""The states of a connection, as data: who may send what, and when.

A connection is the same five-step story on both ends, so there is one table, written from neither end's view: for each
state, what the client may send and what the server may send, and the state that follows. An end looks up its own sends
and its peer's frames in it.

    awaiting-hello --HELLO--> awaiting-welcome --WELCOME--> awaiting-auth --AUTH--> awaiting-ready --READY--> ready
        (client)                  (server)                     (client)                (server)

    any of these --CLOSE, either end--> closing --CLOSED, the other end--> closed

The handshake is strictly in turns: each of its four states names the one frame it awaits, so a second HELLO, an AUTH
nobody asked for or a PUBLISH before READY has no entry and is refused. The server moves by its own sends: AUTH that
arrives in one piece with HELLO is legal if the server has sent WELCOME by the time it looks at it. That is why frames
are taken from the bytes one at a time until READY, and why the verdict does not depend on how the bytes were cut.

In ``ready`` both ends keep sending the types of their column, and the state stays.

CLOSE may be sent in every state but the last two, by either end, for an error or in peace. From then on that end sends
nothing more, and what still arrives from the other one was under way: it is discarded, not refused, whatever it is. The
other end answers CLOSED, or its own CLOSE crosses; both end the connection. An end that closes for an error does not
wait for the answer.

May not happen: a frame before READY larger than 4 KiB; a frame after READY larger than READY said; an illegal frame
that reaches the caller; a legal frame lost because an illegal one came in the same read (``receive`` gives the legal
ones first, then raises). Sending an illegal frame is our own bug and an assertion.
"""

from collections.abc import Iterator, Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

from penstock_client.wire import control
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import Frame, FrameReader, FrameType
from penstock_client.wire.limits import FRAME_BYTES_MAX_BEFORE_READY, FRAME_BYTES_MAX_LIMIT


class Role(Enum):
    """The two ends of a connection."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def peer(self) -> "Role":
        """The other end."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class State(IntEnum):
    """Where a connection is. A handshake state is named by the one frame it awaits."""

    AWAITING_HELLO = 0
    AWAITING_WELCOME = 1
    AWAITING_AUTH = 2
    AWAITING_READY = 3
    READY = 4
    CLOSING = 5
    CLOSED = 6

    @property
    def label(self) -> str:
        """The name in messages and documents, such as ``awaiting-auth``."""
        return self.name.lower().replace("_", "-")


class Verdict(Enum):
    """What becomes of a received frame."""

    ACCEPT = "accept"
    DISCARD = "discard"
    REFUSE = "refuse"


_F = FrameType

CLIENT_TYPES: Final = frozenset(
    {
        *(_F.PING, _F.PONG),
        *(_F.QUEUE_DECLARE, _F.QUEUE_DESCRIBE, _F.QUEUE_LIST, _F.QUEUE_PURGE, _F.QUEUE_DELETE, _F.QUEUE_REDRIVE),
        *(_F.QUEUE_PAUSE, _F.GROUP_DECLARE, _F.GROUP_DELETE, _F.GROUP_LIST, _F.GROUP_DESCRIBE),
        *(_F.PEEK, _F.STATUS, _F.MESSAGE_DESCRIBE, _F.FIND),
        *(_F.PRODUCER_OPEN, _F.ROUTE_OPEN, _F.ROUTE_CLOSE, _F.PUBLISH),
        *(_F.CONNECTION_LIST, _F.CONNECTION_CLOSE, _F.CONSUMER_LIST, _F.CONSUMER_CLOSE, _F.LEASE_REVOKE),
        *(_F.QUEUE_ALTER, _F.GROUP_ALTER, _F.TRANSFER),
        *(_F.CONSUME, _F.FLOW, _F.CANCEL, _F.SETTLE),
        *(_F.REPLY_OPEN, _F.REPLY),
        *(_F.TRANSACT, _F.GROUP_STATE),
        *(_F.EXCHANGE_DECLARE, _F.EXCHANGE_DESCRIBE, _F.EXCHANGE_LIST, _F.EXCHANGE_DELETE),
        *(_F.EXCHANGE_BIND, _F.EXCHANGE_UNBIND, _F.EXCHANGE_BINDINGS),
        *(_F.NAMESPACE_DECLARE, _F.NAMESPACE_ALTER, _F.NAMESPACE_DESCRIBE, _F.NAMESPACE_DELETE, _F.NAMESPACE_LIST),
        *(_F.SCHEDULED_PEEK, _F.SCHEDULED_CANCEL),
        *(_F.SCHEDULE_ADD, _F.SCHEDULE_LIST, _F.SCHEDULE_REMOVE, _F.SCHEDULE_PAUSE),
    }
)
"""What a client may send, any number of times, while the connection is ready."""

SERVER_TYPES: Final = frozenset(
    {_F.PING, _F.PONG, _F.OK, _F.ERROR, _F.PEEKED, _F.CONFIRM, _F.DELIVER, _F.CANCELLED, _F.STALE, _F.REPLIED}
)
"""What a server may send, any number of times, while the connection is ready."""

_Moves = Mapping[FrameType, State]


def _moves(*, closable: bool = True, **named: State) -> _Moves:
    moves = {FrameType[name]: state for name, state in named.items()}
    return MappingProxyType(moves | {_F.CLOSE: State.CLOSING} if closable else moves)


def _ready(types: frozenset[FrameType]) -> _Moves:
    return MappingProxyType(dict.fromkeys(types, State.READY) | {_F.CLOSE: State.CLOSING})


_END: Final = _moves(closable=False, CLOSE=State.CLOSED, CLOSED=State.CLOSED)
_NOTHING: Final = _moves(closable=False)

TRANSITIONS: Final[Mapping[State, Mapping[Role, _Moves]]] = MappingProxyType(
    {
        State.AWAITING_HELLO: {Role.CLIENT: _moves(HELLO=State.AWAITING_WELCOME), Role.SERVER: _moves()},
        State.AWAITING_WELCOME: {Role.CLIENT: _moves(), Role.SERVER: _moves(WELCOME=State.AWAITING_AUTH)},
        State.AWAITING_AUTH: {Role.CLIENT: _moves(AUTH=State.AWAITING_READY), Role.SERVER: _moves()},
        State.AWAITING_READY: {Role.CLIENT: _moves(), Role.SERVER: _moves(READY=State.READY)},
        State.READY: {Role.CLIENT: _ready(CLIENT_TYPES), Role.SERVER: _ready(SERVER_TYPES)},
        State.CLOSING: {Role.CLIENT: _END, Role.SERVER: _END},
        State.CLOSED: {Role.CLIENT: _NOTHING, Role.SERVER: _NOTHING},
    }
)
"""State, then sender, then frame type: the state that follows. What is not listed may not be sent."""


def verdict(state: State, sender: Role, frame_type: int) -> Verdict:
    """Return what the other end does with a frame of this type from ``sender``."""
    if frame_type in TRANSITIONS[state][sender]:
        return Verdict.ACCEPT
    return Verdict.DISCARD if state >= State.CLOSING else Verdict.REFUSE


class Connection:
    """One end of a connection, sans-IO: received bytes in, legal frames out.

    ``frame_bytes_max`` is, for a server, what its READY announces; for a client, the most it lets a READY ask of it.
    """

    def __init__(self, role: Role, frame_bytes_max: int = FRAME_BYTES_MAX_LIMIT) -> None:
        self.role = role
        self.state = State.AWAITING_HELLO
        self.reader = FrameReader()
        self._frame_bytes_max = frame_bytes_max
        self._steady: frozenset[int] = frozenset()

    def receive(self, data: bytes) -> Iterator[Frame]:
        """Take received bytes; yield the frames they complete, in order, each checked against the table.

        Iterate to the end. Raises WireError where the first illegal frame or byte is, after the frames before it.
        """
        reader = self.reader
        while self.state < State.READY:
            frames = reader.feed(data, 1)
            if not frames:
                return
            data = b""
            self._admit(frames[0])
            yield frames[0]
        for frame in reader.feed(data):
            if frame.type in self._steady or self._admit(frame):
                yield frame
        if reader.error is not None:
            raise reader.error

    def sending(self, frame_type: FrameType) -> None:
        """Record that this end sends a frame of this type. Asserts that it may."""
        moves = TRANSITIONS[self.state][self.role]
        assert frame_type in moves, f"a {self.role.value} may not send {frame_type.name} while {self.state.label}"
        if self.state < State.READY and moves[frame_type] is State.READY:
            self.reader.frame_bytes_max = self._frame_bytes_max
        self._move(moves[frame_type])

    def _admit(self, frame: Frame) -> bool:
        """Apply the table to a received frame; return whether the caller gets to see it."""
        moves = TRANSITIONS[self.state][self.role.peer]
        following = moves.get(frame.type)  # type: ignore[call-overload]
        if following is None:
            if self.state >= State.CLOSING:
                return False
            raise WireError(
                ErrorCode.UNEXPECTED_FRAME,
                f"{_type_name(frame.type)} from a {self.role.peer.value} while {self.state.label};"
                f" legal: {', '.join(sorted(legal.name for legal in moves))}",
            )
        if frame.type == FrameType.READY:
            self.reader.frame_bytes_max = self._announced(frame)
        self._move(following)
        return True

    def _move(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            types = CLIENT_TYPES if self.role is Role.SERVER else SERVER_TYPES
            self._steady = types if state is State.READY else frozenset()

    def _announced(self, ready: Frame) -> int:
        value = control.unpack(ready.payload).get("frame_bytes_max")
        if type(value) is not int or not FRAME_BYTES_MAX_BEFORE_READY <= value <= self._frame_bytes_max:
            raise WireError(
                ErrorCode.MALFORMED_FRAME,
                f"READY announces frames of {value!r:.40} bytes; between {FRAME_BYTES_MAX_BEFORE_READY}"
                f" and {self._frame_bytes_max} make sense",
            )
        return value


def _type_name(frame_type: int) -> str:
    return FrameType(frame_type).name if frame_type in FrameType.__members__.values() else f"type {frame_type:#04x}"
