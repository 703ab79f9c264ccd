"""Vectors of the data frames, and of bytes that are refused."""

from collections.abc import Iterable
from typing import Final

from clients.conformance.sample import BOTH, CLIENT, SERVER, TIME_MS, Refused, Sample, error_map

from penstock_client.wire.blocks import BLOCK_HEADER, encode_block
from penstock_client.wire.entries import (
    CONFIRM_ENTRY,
    DELIVER_ENTRY,
    NO_DELAY,
    OFFSET_UNKNOWN,
    SETTLE_HEADER,
    Confirmation,
    ConfirmStatus,
    Delivery,
    Level,
    Outcome,
    encode_publish_entry,
    encode_settle,
    encode_stale,
)
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import FrameType, encode_frame, encode_frame_header
from penstock_client.wire.replies import REPLIED_ENTRY, encode_reply_entry
from penstock_client.wire.transaction import VERSION_ANY, StateWrite, encode_transaction

PLAIN: Final = encode_block([b"one", b"", b"\x00\xff"])
FULL: Final = encode_block(
    [b"first", b"second"],
    keys=["k-1", None],
    headers=[None, {"kind": "b", "tries": 2, "tags": ["x", "y"], "nested": {"pi": 3.5, "none": None}}],
    properties=[{"message_id": "m-1", "content_type": "text/plain", "timestamp": TIME_MS}, None],
    routing=("", "jobs"),
)
LATER: Final = encode_block([b"in a minute", b"too"], properties=[{"delay_ms": 60_000}, {"delay_ms": 60_000}])
AT: Final = encode_block([b"at noon"], properties=[{"deliver_at_ms": TIME_MS}])
TERMS: Final = encode_block(
    [b"urgent", b"plain", b"soon"], properties=[{"priority": 9}, None, {"ttl_ms": 60_000, "priority": 0}]
)
LARGE: Final = encode_block([b"x" * 300])
DEAD: Final = encode_block(
    [b"poison"],
    properties=[
        {
            "dead": {
                "queue": "jobs",
                "offset": 41,
                "attempts": 2,
                "reason": "no such file",
                "published_at_ms": TIME_MS,
                "failures": [
                    {"time_ms": TIME_MS + 5, "attempt": 1, "consumer": "w-1", "reason": "the lease expired"},
                    {"time_ms": TIME_MS + 9, "attempt": 2, "consumer": "w-2", "reason": "no such file"},
                ],
            }
        }
    ],
)


ANSWER: Final = encode_block([b"4.20"], properties=[{"correlation_id": "c0ffee.1", "content_type": "text/plain"}])
FAILED: Final = encode_block(
    [b""],
    properties=[{"correlation_id": "decade.7", "error": {"code": "no-such-item", "message": "item 9 is not known"}}],
)


def confirm_payload(entries: Iterable[Confirmation]) -> bytes:
    """Return a CONFIRM payload."""
    return b"".join(CONFIRM_ENTRY.pack(*entry) for entry in entries)


def deliver_payload(entries: Iterable[Delivery]) -> bytes:
    """Return a DELIVER or PEEKED payload."""
    return b"".join(DELIVER_ENTRY.pack(*entry[:8], 0) + entry.block for entry in entries)


DATA: Final = (
    Sample(
        "peeked",
        FrameType.PEEKED,
        SERVER,
        "The reply to peek: consumer, tags and lease are 0.",
        deliver_payload([Delivery(0, 1, 0, 0, 0, 41, TIME_MS, 0, 3, PLAIN)]),
        8,
    ),
    Sample("peeked-nothing", FrameType.PEEKED, SERVER, "Nothing is stored at or after that offset.", b"", 8),
    Sample(
        "peeked-scheduled",
        FrameType.PEEKED,
        SERVER,
        "The reply to scheduled-peek: the due time is in the place of the tag, the schedule id in that of the offset.",
        deliver_payload([Delivery(0, 0, 0, 0, TIME_MS + 60_000, 3, TIME_MS, 0, 2, LATER)]),
        8,
    ),
    Sample(
        "publish",
        FrameType.PUBLISH,
        CLIENT,
        "One block of three messages for route 1, from sequence 1 on.",
        encode_publish_entry(1, Level.SYNCED, 1) + PLAIN,
    ),
    Sample(
        "publish-two-routes",
        FrameType.PUBLISH,
        CLIENT,
        "Two blocks for two routes; the first with every column, the second one body of 300 bytes.",
        encode_publish_entry(1, Level.SYNCED, 4) + FULL + encode_publish_entry(2, Level.WRITTEN, 2**40) + LARGE,
    ),
    Sample(
        "publish-scheduled",
        FrameType.PUBLISH,
        CLIENT,
        "Two blocks that ask to be delivered later: the bit 0x8000 says that their properties ask for something.",
        encode_publish_entry(1, Level.SYNCED, 6) + LATER + encode_publish_entry(1, Level.SYNCED, 8) + AT,
    ),
    Sample(
        "publish-terms",
        FrameType.PUBLISH,
        CLIENT,
        "A block in which two messages ask for a priority, and one of them for a time to live.",
        encode_publish_entry(1, Level.SYNCED, 9) + TERMS,
    ),
    Sample(
        "confirm-scheduled",
        FrameType.CONFIRM,
        SERVER,
        "A block that waits for its time, with the schedule id of its first message; and the same when sent again.",
        confirm_payload(
            [
                Confirmation(1, ConfirmStatus.SCHEDULED, Level.SYNCED, 0, 6, 2, 0, 0, 3),
                Confirmation(1, ConfirmStatus.DUPLICATE_SCHEDULED, Level.SYNCED, 0, 6, 2, 0, 0, 3),
            ]
        ),
    ),
    Sample(
        "confirm",
        FrameType.CONFIRM,
        SERVER,
        "A stored block, a duplicate whose offset is no longer known, a refused one.",
        confirm_payload(
            [
                Confirmation(1, ConfirmStatus.STORED, Level.SYNCED, 0, 1, 3, 0, 0, 41),
                Confirmation(1, ConfirmStatus.DUPLICATE, Level.SYNCED, 0, 1, 3, 0, 0, OFFSET_UNKNOWN),
                Confirmation(
                    2, ConfirmStatus.REFUSED, Level.WRITTEN, ErrorCode.DISK_FULL, 2**40, 1, 0, 0, OFFSET_UNKNOWN
                ),
            ]
        ),
    ),
    Sample(
        "confirm-in-parts",
        FrameType.CONFIRM,
        SERVER,
        "One block of five messages, sequences 1 to 5, whose third one's id the queue knew.",
        confirm_payload(
            [
                Confirmation(1, ConfirmStatus.STORED, Level.SYNCED, 0, 1, 2, 0, 0, 41),
                Confirmation(1, ConfirmStatus.DUPLICATE, Level.SYNCED, 0, 3, 1, 0, 0, 7),
                Confirmation(1, ConfirmStatus.STORED, Level.SYNCED, 0, 4, 2, 0, 0, 43),
            ]
        ),
    ),
    Sample(
        "deliver",
        FrameType.DELIVER,
        SERVER,
        "Three messages for consumer 5, tags 100 to 102.",
        deliver_payload([Delivery(5, 1, 0, 0, 100, 41, TIME_MS, 30_000, 3, PLAIN)]),
    ),
    Sample(
        "deliver-two-runs",
        FrameType.DELIVER,
        SERVER,
        "Runs for two consumers: a third attempt with every column, and a dead letter.",
        deliver_payload(
            [
                Delivery(5, 3, 2, 0, 103, 44, TIME_MS, 30_000, 2, FULL),
                Delivery(6, 1, 0, 0, 105, 0, TIME_MS, 5_000, 1, DEAD),
            ]
        ),
    ),
    Sample(
        "settle-ack",
        FrameType.SETTLE,
        CLIENT,
        "Acknowledge 100 to 102 and 105; no reply asked for.",
        encode_settle(Outcome.ACK, [(100, 102), (105, 105)]),
    ),
    Sample(
        "settle-ack-confirmed",
        FrameType.SETTLE,
        CLIENT,
        "Acknowledge with a reply.",
        encode_settle(Outcome.ACK, [(103, 103)]),
        16,
    ),
    Sample(
        "ok-settled", FrameType.OK, SERVER, "The reply to settle-ack-confirmed, once it is durable.", {"stale": 0}, 16
    ),
    Sample(
        "settle-nack",
        FrameType.SETTLE,
        CLIENT,
        "Failed, again in 5 s, with a reason.",
        encode_settle(Outcome.NACK, [(104, 104)], 5_000, "größer als erlaubt"),
    ),
    Sample(
        "settle-nack-backoff",
        FrameType.SETTLE,
        CLIENT,
        "Failed, again after the queue's backoff.",
        encode_settle(Outcome.NACK, [(104, 104)], NO_DELAY),
    ),
    Sample(
        "settle-release",
        FrameType.SETTLE,
        CLIENT,
        "Given back, not a failure.",
        encode_settle(Outcome.RELEASE, [(104, 2**64 - 1)]),
    ),
    Sample(
        "settle-release-delayed",
        FrameType.SETTLE,
        CLIENT,
        "Given back in 5 s.",
        encode_settle(Outcome.RELEASE, [(104, 104)], 5_000),
    ),
    Sample(
        "settle-requeue",
        FrameType.SETTLE,
        CLIENT,
        "Given back, behind what is in the queue now.",
        encode_settle(Outcome.REQUEUE, [(104, 104)]),
    ),
    Sample(
        "settle-reject",
        FrameType.SETTLE,
        CLIENT,
        "Straight to the dead letters.",
        encode_settle(Outcome.REJECT, [(104, 104)], 0, "poison"),
    ),
    Sample(
        "settle-extend",
        FrameType.SETTLE,
        CLIENT,
        "Held for 60 s more, from now.",
        encode_settle(Outcome.EXTEND, [(100, 105)], 60_000),
    ),
    Sample(
        "settle-started",
        FrameType.SETTLE,
        CLIENT,
        "The application has these.",
        encode_settle(Outcome.STARTED, [(100, 101)]),
    ),
    Sample(
        "transact",
        FrameType.TRANSACT,
        CLIENT,
        "Publish three messages to one queue and one to another, acknowledge 100 to 102 and 105, set a key that was"
        " read at version 38654705665, and remove one whatever it is.",
        encode_transaction(
            [(100, 102), (105, 105)],
            [("", "invoices", PLAIN), ("", "audit", encode_block([b"\x01"]))],
            [
                StateWrite("jobs", "billing", "seen", 38_654_705_665, b"\x07"),
                StateWrite("jobs", "", "shard", VERSION_ANY, b""),
            ],
        ),
        39,
    ),
    Sample(
        "ok-transacted",
        FrameType.OK,
        SERVER,
        "The reply to transact, once all of it is durable: for each block its parts, [offset, count, duplicate].",
        {"placed": [[[41, 3, False]], [[7, 1, True]]]},
        39,
    ),
    Sample(
        "error-transaction-stale",
        FrameType.ERROR,
        SERVER,
        "The reply to transact when tag 105 is not held any more: nothing was done.",
        error_map(ErrorCode.TRANSACTION_STALE, "nothing was done: this connection does not hold tag 105 any more"),
        39,
    ),
    Sample(
        "stale",
        FrameType.STALE,
        SERVER,
        "A settle without a request id named tags that are not held.",
        encode_stale(Outcome.ACK, [(100, 102)]),
    ),
    Sample(
        "reply",
        FrameType.REPLY,
        CLIENT,
        "An answer, and to somebody else that a request failed.",
        encode_reply_entry("$reply.3.12") + ANSWER + encode_reply_entry("$reply.2.7") + FAILED,
        18,
    ),
    Sample(
        "ok-replied",
        FrameType.OK,
        SERVER,
        "The reply to reply: one outcome for each entry.",
        {"outcomes": ["delivered", "gone"]},
        18,
    ),
    Sample(
        "replied",
        FrameType.REPLIED,
        SERVER,
        "The answer at the session whose box is $reply.3.12.",
        REPLIED_ENTRY.pack(TIME_MS) + ANSWER,
    ),
)


def _publish(block: bytes) -> bytes:
    return encode_frame(FrameType.PUBLISH, encode_publish_entry(1, Level.SYNCED, 1) + block)


REFUSED: Final = (
    Refused(
        "transact-overlapping-tags",
        CLIENT,
        "Tag ranges of a transaction ascend and do not overlap.",
        encode_frame(FrameType.TRANSACT, encode_transaction([(1, 3), (3, 4)], [], []), 1),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused("flags", BOTH, "No flag is defined.", encode_frame(FrameType.PING, flags=1), ErrorCode.MALFORMED_FRAME),
    Refused(
        "reserved",
        BOTH,
        "Bytes 6 and 7 of a header are 0.",
        bytes.fromhex("000000000500010000000000"),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused(
        "giant",
        BOTH,
        "Refused by the header alone: larger than any frame limit.",
        encode_frame_header(FrameType.PING, 2**32 - 1),
        ErrorCode.FRAME_TOO_LARGE,
    ),
    Refused(
        "control-not-a-map",
        CLIENT,
        "A control payload is a map.",
        encode_frame(FrameType.STATUS, b"\x90", 1),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused(
        "control-not-whole",
        CLIENT,
        "A map that ends early.",
        encode_frame(FrameType.STATUS, b"\x81\xa1a", 1),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused(
        "control-extension",
        CLIENT,
        "Extension types are refused.",
        encode_frame(FrameType.STATUS, b"\x81\xa1a\xd4\x05x", 1),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused(
        "publish-cut",
        CLIENT,
        "An entry that ends early.",
        encode_frame(FrameType.PUBLISH, bytes(20)),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused(
        "publish-level",
        CLIENT,
        "A client may ask for levels 0 and 1.",
        encode_frame(FrameType.PUBLISH, encode_publish_entry(1, Level.MEMORY, 1) + PLAIN),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused(
        "block-lengths",
        CLIENT,
        "The lengths of a block do not add up.",
        _publish(BLOCK_HEADER.pack(40, 1, 1, 0, 9, 0, 0, 0, 0) + bytes(8)),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused(
        "settle-backwards",
        CLIENT,
        "A tag range ends before it begins.",
        encode_frame(FrameType.SETTLE, encode_settle(Outcome.ACK, [(2, 1)])),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused(
        "reply-without-address",
        CLIENT,
        "A reply is for somebody.",
        encode_frame(FrameType.REPLY, bytes(4) + ANSWER, 18),
        ErrorCode.MALFORMED_FRAME,
    ),
    Refused(
        "settle-outcome",
        CLIENT,
        "There is no outcome 8.",
        encode_frame(FrameType.SETTLE, SETTLE_HEADER.pack(8, 0, 0, 0, 0, 0)),
        ErrorCode.MALFORMED_FRAME,
    ),
)
