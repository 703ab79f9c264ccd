"""Replies through the engine: who gets them, what their senders are told, and what is bounded."""

from tests.unit.engine.harness import Bench, Peer

from penstock.engine.interface import ReplyIn
from penstock.engine.replies import ENTRY_BYTES
from penstock_client.wire.blocks import encode_block


def block(*bodies: bytes) -> bytes:
    return encode_block(bodies)


def box(peer: Peer) -> str:
    address: str = peer.call("reply_open")["address"]
    return address


def send(peer: Peer, *entries: ReplyIn) -> list[str]:
    """Send replies; return their outcomes, which come at once."""
    peer.bench.engine.reply(peer.session, entries, 99)
    outcomes: list[str] = peer.replies[99]["outcomes"]
    return outcomes


def counts(bench: Bench) -> tuple[int, int, int]:
    status = bench.peer().call("status")
    return status["replies_delivered"], status["replies_gone"], status["replies_full"]


def test_a_reply_reaches_who_asked_at_once_and_nobody_else(bench: Bench) -> None:
    asker, other, answerer = bench.peer(), bench.peer(), bench.peer()
    address = box(asker)
    box(other)

    assert send(answerer, ReplyIn(address, 1, block(b"yes"))) == ["delivered"]
    assert asker.replied_blocks == [block(b"yes")]
    assert not other.replied_blocks
    assert not answerer.replied_blocks
    assert bench.engine.begin() is None, "nothing is journaled"


def test_a_session_has_one_box_and_is_told_its_bound(bench: Bench) -> None:
    asker = bench.peer()
    first, second = asker.call("reply_open"), asker.call("reply_open")

    assert first == second
    assert first["bytes_max"] == bench.engine.limits.reply_bytes_max


def test_one_may_answer_oneself(bench: Bench) -> None:
    asker = bench.peer()

    assert send(asker, ReplyIn(box(asker), 1, block(b"echo"))) == ["delivered"]
    assert asker.replied_blocks == [block(b"echo")]


def test_without_a_request_id_nobody_is_told_the_outcome(bench: Bench) -> None:
    asker, answerer = bench.peer(), bench.peer()
    bench.engine.reply(answerer.session, [ReplyIn(box(asker), 1, block(b"yes"))], 0)

    assert asker.replied_blocks == [block(b"yes")]
    assert not answerer.replies


def test_the_replies_of_a_frame_have_an_outcome_each_in_their_order(bench: Bench) -> None:
    asker, other, answerer = bench.peer(), bench.peer(), bench.peer()
    address, gone = box(asker), box(other)
    bench.engine.close_session(other.session)

    outcomes = send(
        answerer,
        ReplyIn(address, 1, block(b"a")),
        ReplyIn(gone, 2, block(b"b", b"c")),
        ReplyIn("jobs", 1, block(b"d")),
        ReplyIn(address, 1, block(b"e"), "bad-block"),
        ReplyIn(address, 2, block(b"f", b"g")),
    )

    assert outcomes == ["delivered", "gone", "bad-name", "bad-block", "delivered"]
    assert asker.replied_blocks == [block(b"a"), block(b"f", b"g")]
    assert counts(bench) == (3, 2, 0)


def test_a_reply_after_the_end_of_the_session_reaches_nobody(bench: Bench) -> None:
    asker, answerer = bench.peer(), bench.peer()
    address = box(asker)
    bench.engine.close_session(asker.session, lost=False)
    box(bench.peer())

    assert send(answerer, ReplyIn(address, 1, block(b"late"))) == ["gone"]
    assert not asker.replied_blocks


def test_a_reply_to_a_session_before_the_restart_reaches_nobody(bench: Bench) -> None:
    address = box(bench.peer())
    bench.start()
    asker, answerer = bench.peer(), bench.peer()
    now = box(asker)

    assert now.rpartition(".")[2] == address.rpartition(".")[2], "the numbers of sessions begin again"
    assert send(answerer, ReplyIn(address, 1, block(b"late"))) == ["gone"]
    assert not asker.replied_blocks


def test_a_session_that_did_not_open_its_box_gets_no_replies(bench: Bench) -> None:
    asker, answerer = bench.peer(), bench.peer()
    address = box(asker).replace(f".{asker.session}", f".{answerer.session}")

    assert send(answerer, ReplyIn(address, 1, block(b"guess"))) == ["gone"]


def test_replies_to_who_does_not_read_are_refused_beyond_the_bound() -> None:
    unit = ENTRY_BYTES + len(block(b"x"))
    bench = Bench(reply_bytes_max=2 * unit)
    asker, answerer = bench.peer(), bench.peer()
    entry = ReplyIn(box(asker), 1, block(b"x"))

    assert send(answerer, entry, entry, entry) == ["delivered", "delivered", "full"]
    asker.unsent = unit
    assert send(answerer, entry, entry) == ["delivered", "full"]
    asker.unsent = 0
    assert send(answerer, entry, entry, entry) == ["delivered", "delivered", "full"]
    assert len(asker.replied_blocks) == 5
    assert counts(bench) == (5, 0, 3)


def test_what_a_full_box_was_given_in_the_same_frame_is_handed_over_before_it_is_asked() -> None:
    bench = Bench(reply_bytes_max=1)
    asker, answerer = bench.peer(), bench.peer()
    entry = ReplyIn(box(asker), 1, block(b"x"))

    assert send(answerer, entry, entry) == ["delivered", "full"]
    assert asker.replied_blocks == [block(b"x")]


def test_names_that_look_like_addresses_are_no_queues(bench: Bench) -> None:
    refusal = bench.peer().refusal("queue_declare", queue="$reply.1.1")

    assert refusal.code == "bad-name"
    assert "reply addresses" in refusal.message
    bench.peer().call("queue_declare", queue="$replies")


def test_opening_a_box_takes_no_arguments(bench: Bench) -> None:
    assert bench.peer().refusal("reply_open", size=1).code == "bad-setting"
    assert counts(bench) == (0, 0, 0)
    assert bench.peer().call("status")["reply_boxes"] == 0
