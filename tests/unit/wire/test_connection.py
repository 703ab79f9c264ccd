import itertools

import pytest

from penstock_client.wire import control
from penstock_client.wire.connection import (
    CLIENT_TYPES,
    SERVER_TYPES,
    TRANSITIONS,
    Connection,
    Role,
    State,
    Verdict,
    verdict,
)
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import PREAMBLE, FrameType, encode_frame, encode_frame_header
from penstock_client.wire.limits import FRAME_BYTES_MAX_BEFORE_READY, FRAME_BYTES_MAX_LIMIT

TABLE = """
                 hello  welcome  auth  ready  READY  closing  closed
HELLO              c       -      -      -      -       -        -
WELCOME            -       s      -      -      -       -        -
AUTH               -       -      c      -      -       -        -
READY              -       -      -      s      -       -        -
PING               -       -      -      -      b       -        -
PONG               -       -      -      -      b       -        -
CLOSE              b       b      b      b      b       b        -
CLOSED             -       -      -      -      -       b        -
OK                 -       -      -      -      s       -        -
ERROR              -       -      -      -      s       -        -
QUEUE_DECLARE      -       -      -      -      c       -        -
QUEUE_DESCRIBE     -       -      -      -      c       -        -
QUEUE_LIST         -       -      -      -      c       -        -
QUEUE_PURGE        -       -      -      -      c       -        -
QUEUE_DELETE       -       -      -      -      c       -        -
QUEUE_REDRIVE      -       -      -      -      c       -        -
PEEK               -       -      -      -      c       -        -
FIND               -       -      -      -      c       -        -
PEEKED             -       -      -      -      s       -        -
SCHEDULED_PEEK     -       -      -      -      c       -        -
SCHEDULED_CANCEL   -       -      -      -      c       -        -
SCHEDULE_ADD       -       -      -      -      c       -        -
SCHEDULE_LIST      -       -      -      -      c       -        -
SCHEDULE_REMOVE    -       -      -      -      c       -        -
SCHEDULE_PAUSE     -       -      -      -      c       -        -
STATUS             -       -      -      -      c       -        -
MESSAGE_DESCRIBE   -       -      -      -      c       -        -
QUEUE_PAUSE        -       -      -      -      c       -        -
GROUP_DECLARE      -       -      -      -      c       -        -
GROUP_DELETE       -       -      -      -      c       -        -
GROUP_LIST         -       -      -      -      c       -        -
GROUP_DESCRIBE     -       -      -      -      c       -        -
GROUP_STATE        -       -      -      -      c       -        -
TRANSACT           -       -      -      -      c       -        -
PRODUCER_OPEN      -       -      -      -      c       -        -
ROUTE_OPEN         -       -      -      -      c       -        -
PUBLISH            -       -      -      -      c       -        -
CONFIRM            -       -      -      -      s       -        -
ROUTE_CLOSE        -       -      -      -      c       -        -
CONSUME            -       -      -      -      c       -        -
FLOW               -       -      -      -      c       -        -
CANCEL             -       -      -      -      c       -        -
DELIVER            -       -      -      -      s       -        -
SETTLE             -       -      -      -      c       -        -
CANCELLED          -       -      -      -      s       -        -
STALE              -       -      -      -      s       -        -
REPLY_OPEN         -       -      -      -      c       -        -
REPLY              -       -      -      -      c       -        -
REPLIED            -       -      -      -      s       -        -
CONNECTION_LIST    -       -      -      -      c       -        -
CONNECTION_CLOSE   -       -      -      -      c       -        -
CONSUMER_LIST      -       -      -      -      c       -        -
CONSUMER_CLOSE     -       -      -      -      c       -        -
LEASE_REVOKE       -       -      -      -      c       -        -
QUEUE_ALTER        -       -      -      -      c       -        -
GROUP_ALTER        -       -      -      -      c       -        -
TRANSFER           -       -      -      -      c       -        -
EXCHANGE_DECLARE   -       -        -      -      c       -        -
EXCHANGE_DESCRIBE  -       -        -      -      c       -        -
EXCHANGE_LIST      -       -        -      -      c       -        -
EXCHANGE_DELETE    -       -        -      -      c       -        -
EXCHANGE_BIND      -       -        -      -      c       -        -
EXCHANGE_UNBIND    -       -        -      -      c       -        -
EXCHANGE_BINDINGS  -       -        -      -      c       -        -
NAMESPACE_DECLARE  -       -        -      -      c       -        -
NAMESPACE_ALTER    -       -        -      -      c       -        -
NAMESPACE_DESCRIBE -       -        -      -      c       -        -
NAMESPACE_DELETE   -       -        -      -      c       -        -
NAMESPACE_LIST     -       -        -      -      c       -        -
"""
"""Who may send what in which state, written by hand: c(lient), s(erver), b(oth) or nobody."""

ROWS = [line.split() for line in TABLE.strip().splitlines()[1:]]
ALLOWED = {(FrameType[name], State(index)): cells[index] for name, *cells in ROWS for index in range(len(State))}
UNKNOWN_TYPES = sorted(set(range(256)) - set(FrameType))
LETTERS = {Role.CLIENT: "cb", Role.SERVER: "sb"}
CASES = list(itertools.product(FrameType, State, Role))
MOVES = {
    FrameType.HELLO: State.AWAITING_WELCOME,
    FrameType.WELCOME: State.AWAITING_AUTH,
    FrameType.AUTH: State.AWAITING_READY,
    FrameType.READY: State.READY,
}
WAY = [(Role.CLIENT, FrameType.HELLO), (Role.SERVER, FrameType.WELCOME), (Role.CLIENT, FrameType.AUTH)]
WAY += [(Role.SERVER, FrameType.READY), (Role.CLIENT, FrameType.CLOSE), (Role.SERVER, FrameType.CLOSED)]
READY = control.pack({"frame_bytes_max": 100_000})


def connection_in(state: State, role: Role) -> Connection:
    """One end that went the ordinary way up to ``state``."""
    connection = Connection(role, 100_000)
    assert list(connection.receive(PREAMBLE)) == []
    for sender, frame_type in WAY[: int(state)]:
        if sender is role:
            connection.sending(frame_type)
        else:
            payload = READY if frame_type is FrameType.READY else b""
            assert len(list(connection.receive(encode_frame(frame_type, payload)))) == 1
    assert connection.state is state
    return connection


def next_state(frame_type: FrameType, state: State) -> State:
    if frame_type in (FrameType.CLOSE, FrameType.CLOSED):
        return State.CLOSED if state is State.CLOSING else State.CLOSING
    return MOVES.get(frame_type, State.READY)


def test_the_table_below_names_every_frame_type_and_state() -> None:
    assert set(ALLOWED) == set(itertools.product(FrameType, State))
    assert {len(row) for row in ROWS} == {1 + len(State)}
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(("frame_type", "state", "sender"), CASES)
def test_the_table_gives_the_verdict(frame_type: FrameType, state: State, sender: Role) -> None:
    if ALLOWED[frame_type, state] in LETTERS[sender]:
        assert verdict(state, sender, frame_type) is Verdict.ACCEPT
    elif state >= State.CLOSING:
        assert verdict(state, sender, frame_type) is Verdict.DISCARD
    else:
        assert verdict(state, sender, frame_type) is Verdict.REFUSE


@pytest.mark.parametrize(("frame_type", "state", "role"), CASES)
def test_a_received_frame_meets_its_verdict(frame_type: FrameType, state: State, role: Role) -> None:
    connection = connection_in(state, role)
    data = encode_frame(frame_type, READY if frame_type is FrameType.READY else b"", 5)
    if ALLOWED[frame_type, state] in LETTERS[role.peer]:
        assert [(frame.type, frame.request) for frame in connection.receive(data)] == [(frame_type, 5)]
        assert connection.state is next_state(frame_type, state)
    elif state >= State.CLOSING:
        assert list(connection.receive(data)) == []
        assert connection.state is state
    else:
        with pytest.raises(
            WireError, match=f"^{frame_type.name} from a {role.peer.value} while {state.label}"
        ) as caught:
            list(connection.receive(data))
        assert caught.value.code is ErrorCode.UNEXPECTED_FRAME
        assert connection.state is state


@pytest.mark.parametrize(("frame_type", "state", "role"), CASES)
def test_an_end_sends_what_the_table_lets_it(frame_type: FrameType, state: State, role: Role) -> None:
    connection = connection_in(state, role)
    if ALLOWED[frame_type, state] in LETTERS[role]:
        connection.sending(frame_type)
        assert connection.state is next_state(frame_type, state)
    else:
        with pytest.raises(AssertionError, match=f"a {role.value} may not send {frame_type.name}"):
            connection.sending(frame_type)
        assert connection.state is state


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("role", Role)
def test_unknown_types_are_refused_until_the_connection_closes(state: State, role: Role) -> None:
    for frame_type in UNKNOWN_TYPES:
        connection = connection_in(state, role)
        if state >= State.CLOSING:
            assert list(connection.receive(encode_frame(frame_type))) == []
        else:
            with pytest.raises(WireError, match=f"^type {frame_type:#04x}"):
                list(connection.receive(encode_frame(frame_type)))


def test_what_both_ends_send_alike_is_heartbeats_alone() -> None:
    assert {FrameType.PING, FrameType.PONG} == CLIENT_TYPES & SERVER_TYPES


def test_each_end_is_the_others_peer() -> None:
    assert [role.peer for role in Role] == [Role.SERVER, Role.CLIENT]


# Limits


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("state", [state for state in State if state < State.READY])
def test_before_ready_a_frame_is_at_most_four_kibibytes(role: Role, state: State) -> None:
    with pytest.raises(WireError) as caught:
        list(connection_in(state, role).receive(encode_frame_header(FrameType.CLOSE, FRAME_BYTES_MAX_BEFORE_READY + 1)))
    assert caught.value.code is ErrorCode.FRAME_TOO_LARGE


@pytest.mark.parametrize("role", Role)
def test_ready_raises_the_limit_of_frames_to_what_it_says(role: Role) -> None:
    connection = connection_in(State.READY, role)

    assert len(list(connection.receive(encode_frame(FrameType.PING, bytes(100_000))))) == 1
    with pytest.raises(WireError) as caught:
        list(connection.receive(encode_frame_header(FrameType.PING, 100_001)))
    assert caught.value.code is ErrorCode.FRAME_TOO_LARGE


@pytest.mark.parametrize(
    "value", [None, "1000", True, 0, -1, FRAME_BYTES_MAX_BEFORE_READY - 1, FRAME_BYTES_MAX_LIMIT + 1]
)
def test_a_ready_without_a_sensible_frame_limit_is_malformed(value: object) -> None:
    connection = Connection(Role.CLIENT)
    connection.sending(FrameType.HELLO)
    list(connection.receive(PREAMBLE + encode_frame(FrameType.WELCOME)))
    connection.sending(FrameType.AUTH)
    with pytest.raises(WireError) as caught:
        list(connection.receive(encode_frame(FrameType.READY, control.pack({"frame_bytes_max": value}))))
    assert caught.value.code is ErrorCode.MALFORMED_FRAME
    assert connection.state is State.AWAITING_READY


# Several frames in one read


def serve(connection: Connection, data: bytes) -> list[int]:
    """Receive as a server that answers at once; return the types it saw."""
    seen = []
    for frame in connection.receive(data):
        seen.append(frame.type)
        if frame.type == FrameType.HELLO:
            connection.sending(FrameType.WELCOME)
        if frame.type == FrameType.AUTH:
            connection.sending(FrameType.READY)
        if frame.type == FrameType.CLOSE:
            connection.sending(FrameType.CLOSED)
    return seen


CONVERSATION = [
    (FrameType.HELLO, b"h"),
    (FrameType.AUTH, b"a"),
    (FrameType.PUBLISH, bytes(50_000)),
    (FrameType.PING, b""),
    (FrameType.CLOSE, b""),
    (FrameType.PUBLISH, b"too late"),
]


@pytest.mark.parametrize("read_bytes", [1, 7, 12, 1_000, 1_000_000])
def test_a_whole_conversation_is_the_same_in_reads_of_any_size(read_bytes: int) -> None:
    data = PREAMBLE + b"".join(encode_frame(kind, payload) for kind, payload in CONVERSATION)
    connection = Connection(Role.SERVER)
    reads = [data[start : start + read_bytes] for start in range(0, len(data), read_bytes)]

    assert [kind for read in reads for kind in serve(connection, read)] == [kind for kind, _ in CONVERSATION[:-1]]
    assert connection.state is State.CLOSED


@pytest.mark.parametrize("bad", [encode_frame(FrameType.OK), encode_frame(FrameType.PING, flags=1)])
def test_legal_frames_before_an_illegal_one_are_seen(bad: bytes) -> None:
    connection = connection_in(State.READY, Role.SERVER)
    seen: list[int] = []
    with pytest.raises(WireError):
        seen.extend(frame.type for frame in connection.receive(encode_frame(FrameType.PING) + bad))

    received = connection_in(State.READY, Role.SERVER).receive(encode_frame(FrameType.PING) + bad)
    assert next(received).type == FrameType.PING
    with pytest.raises(WireError):
        next(received)


def test_frames_behind_an_answer_that_takes_time_are_unexpected() -> None:
    connection = connection_in(State.AWAITING_AUTH, Role.SERVER)
    received = connection.receive(encode_frame(FrameType.AUTH) + encode_frame(FrameType.PUBLISH))

    assert next(received).type == FrameType.AUTH
    with pytest.raises(WireError, match="PUBLISH from a client while awaiting-ready"):
        next(received)


def test_closes_that_cross_end_the_connection() -> None:
    connection = connection_in(State.READY, Role.SERVER)
    connection.sending(FrameType.CLOSE)

    assert [frame.type for frame in connection.receive(encode_frame(FrameType.CLOSE))] == [FrameType.CLOSE]
    assert connection.state is State.CLOSED
    assert list(connection.receive(encode_frame(FrameType.CLOSED))) == []


def test_what_was_under_way_at_a_close_is_discarded() -> None:
    connection = connection_in(State.READY, Role.CLIENT)
    connection.sending(FrameType.CLOSE)
    late = encode_frame(FrameType.DELIVER) + encode_frame(FrameType.CONFIRM) + encode_frame(FrameType.CLOSED)

    assert [frame.type for frame in connection.receive(late)] == [FrameType.CLOSED]
