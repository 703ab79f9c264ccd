"""Vectors of the frames about namespaces."""

from typing import Any, Final

from clients.conformance.sample import CLIENT, SERVER, TIME_MS, Sample, error_map

from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import FrameType

NAMESPACE_INFO: Final[dict[str, Any]] = {
    "namespace": "billing",
    "max_queues": 100,
    "max_connections": 0,
    "max_bytes": 10_000_000_000,
    "queues": 3,
    "exchanges": 1,
    "schedules": 0,
    "connections": 2,
    "bytes": 4_096,
    "created_at_ms": TIME_MS,
}

NAMESPACES: Final = (
    Sample(
        "namespace-declare",
        FrameType.NAMESPACE_DECLARE,
        CLIENT,
        "A namespace with two limits.",
        {"namespace": "billing", "max_queues": 100, "max_bytes": 10_000_000_000},
        60,
    ),
    Sample(
        "ok-namespace-declared",
        FrameType.OK,
        SERVER,
        "The reply to namespace-declare.",
        {"namespace": "billing", "created": True},
        60,
    ),
    Sample(
        "namespace-alter",
        FrameType.NAMESPACE_ALTER,
        CLIENT,
        "Another limit for a namespace that is there.",
        {"namespace": "billing", "max_queues": 200},
        61,
    ),
    Sample(
        "ok-namespace-altered",
        FrameType.OK,
        SERVER,
        "The reply to namespace-alter.",
        {"changed": {"max_queues": [100, 200]}},
        61,
    ),
    Sample("namespace-describe", FrameType.NAMESPACE_DESCRIBE, CLIENT, "Ask about one.", {"namespace": "billing"}, 62),
    Sample("ok-namespace", FrameType.OK, SERVER, "The reply to namespace-describe.", NAMESPACE_INFO, 62),
    Sample(
        "namespace-list", FrameType.NAMESPACE_LIST, CLIENT, "A page of namespaces.", {"prefix": "", "limit": 100}, 63
    ),
    Sample("namespace-delete", FrameType.NAMESPACE_DELETE, CLIENT, "Remove one.", {"namespace": "billing"}, 64),
    Sample(
        "error-namespace-in-use",
        FrameType.ERROR,
        SERVER,
        "A refusal of namespace-delete.",
        error_map(
            ErrorCode.NAMESPACE_IN_USE,
            "namespace 'billing' has 3 queues, 2 connections; it can be deleted when it is empty",
        ),
        64,
    ),
    Sample(
        "close-unknown-namespace",
        FrameType.CLOSE,
        SERVER,
        "The answer to a HELLO that names a namespace which there is not.",
        error_map(ErrorCode.UNKNOWN_NAMESPACE, "there is no namespace 'billing': declare it first"),
    ),
)
