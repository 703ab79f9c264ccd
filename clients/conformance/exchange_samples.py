"""Vectors of the frames about exchanges and bindings."""

from typing import Any, Final

from clients.conformance.sample import CLIENT, SERVER, TIME_MS, Sample, error_map

from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import FrameType

EXCHANGE_INFO: Final[dict[str, Any]] = {
    "exchange": "events",
    "id": 4,
    "type": "topic",
    "alternate": "strays",
    "hash_by": "routing-key",
    "hash_header": None,
    "bindings": 2,
    "published": 120,
    "unrouted": 0,
    "unroutable": 3,
    "cycles_broken": 0,
    "created_at_ms": TIME_MS,
}

EXCHANGES: Final = (
    Sample(
        "exchange-declare",
        FrameType.EXCHANGE_DECLARE,
        CLIENT,
        "A topic exchange; what no binding takes goes to the exchange strays.",
        {"exchange": "events", "type": "topic", "alternate": "strays"},
        20,
    ),
    Sample(
        "exchange-declare-hash",
        FrameType.EXCHANGE_DECLARE,
        CLIENT,
        "A consistent-hash exchange that hashes a header.",
        {"exchange": "shards", "type": "consistent-hash", "hash_by": "header", "hash_header": "tenant"},
        21,
    ),
    Sample(
        "ok-exchange-declared",
        FrameType.OK,
        SERVER,
        "The reply to exchange-declare.",
        {"exchange": "events", "id": 4, "created": True},
        20,
    ),
    Sample("exchange-describe", FrameType.EXCHANGE_DESCRIBE, CLIENT, "Ask about one.", {"exchange": "events"}, 22),
    Sample("ok-exchange", FrameType.OK, SERVER, "The reply to exchange-describe.", EXCHANGE_INFO, 22),
    Sample("exchange-list", FrameType.EXCHANGE_LIST, CLIENT, "A page of exchanges.", {"prefix": "", "limit": 100}, 23),
    Sample(
        "exchange-bind",
        FrameType.EXCHANGE_BIND,
        CLIENT,
        "Lead matching messages to a queue.",
        {"exchange": "events", "queue": "jobs", "routing_key": "orders.*.new"},
        24,
    ),
    Sample(
        "exchange-bind-headers",
        FrameType.EXCHANGE_BIND,
        CLIENT,
        "Lead messages with either header from one exchange to another.",
        {
            "exchange": "by-headers",
            "to_exchange": "events",
            "routing_key": "",
            "arguments": {"x-match": "any", "region": "eu", "urgent": True},
        },
        25,
    ),
    Sample("ok-bound", FrameType.OK, SERVER, "The reply to exchange-bind.", {"created": True, "cycle": False}, 24),
    Sample(
        "error-bad-binding",
        FrameType.ERROR,
        SERVER,
        "A binding that is wrong, with the place and the reason.",
        error_map(
            ErrorCode.BAD_BINDING,
            "routing key 'orders.n*', word 2 ('n*'): '*' stands for whole words and must be alone between dots",
        ),
        24,
    ),
    Sample(
        "exchange-unbind",
        FrameType.EXCHANGE_UNBIND,
        CLIENT,
        "Take the binding of exchange-bind back.",
        {"exchange": "events", "queue": "jobs", "routing_key": "orders.*.new"},
        26,
    ),
    Sample(
        "exchange-bindings",
        FrameType.EXCHANGE_BINDINGS,
        CLIENT,
        "A page of an exchange's bindings.",
        {"exchange": "events", "start": 0, "limit": 500},
        27,
    ),
    Sample(
        "ok-bindings",
        FrameType.OK,
        SERVER,
        "The reply to exchange-bindings.",
        {
            "bindings": [
                {"kind": "queue", "destination": "jobs", "routing_key": "orders.*.new", "arguments": {}},
            ],
            "more": False,
        },
        27,
    ),
    Sample(
        "exchange-delete",
        FrameType.EXCHANGE_DELETE,
        CLIENT,
        "Delete an exchange if nothing is bound to it.",
        {"exchange": "events", "if_unused": True},
        28,
    ),
    Sample(
        "route-open-exchange",
        FrameType.ROUTE_OPEN,
        CLIENT,
        "Route 2 leads through an exchange; that no queue takes a message is no error.",
        {"route": 2, "exchange": "events", "routing_key": "orders.eu.new", "mandatory": False},
        29,
    ),
    Sample("ok-route-exchange", FrameType.OK, SERVER, "The reply to route-open-exchange.", {"exchange_id": 4}, 29),
)
