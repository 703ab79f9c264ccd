"""Connections to namespaces: what HELLO may say, and what a connection inside is told of the server."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.net.harness import Peer

from penstock.app import Broker
from penstock_client.wire import control
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import FrameType


async def inside(broker: Broker, **limits: int) -> Peer:
    """A peer in the namespace "billing"."""
    await Peer(broker).ready().call(FrameType.NAMESPACE_DECLARE, namespace="billing", **limits)
    peer = Peer(broker)
    peer.hello(namespace="billing")
    peer.authenticate()
    assert [frame.type for frame in peer.frames()] == [FrameType.WELCOME, FrameType.READY]
    return peer


async def test_a_connection_is_in_the_namespace_that_hello_names(broker: Broker) -> None:
    peer = await inside(broker)
    assert (await peer.call(FrameType.QUEUE_DECLARE, queue="jobs"))["queue"] == "jobs"
    assert list(broker.engine.broker.names) == ["billing/jobs"]
    root = await Peer(broker).ready().call(FrameType.QUEUE_DESCRIBE, queue="billing/jobs")
    assert root["queue"] == "billing/jobs"


async def test_status_inside_says_nothing_of_the_server_but_who_and_how_it_is(broker: Broker) -> None:
    told = await (await inside(broker)).call(FrameType.STATUS)
    assert {"version", "boot_epoch", "uptime_ms", "storage", "memory", "queues", "connections", "bytes"} <= set(told)
    assert not {"data_dir", "rss_bytes", "journal_bytes", "commits", "namespaces"} & set(told)
    assert told["connections"] == 1


async def test_a_namespace_that_there_is_not_ends_the_connection_with_what_to_do(broker: Broker) -> None:
    peer = Peer(broker)
    peer.hello(namespace="nope\x07")
    peer.authenticate()
    reason = peer.closed_with()
    assert (reason["code"], reason["error"]) == (ErrorCode.UNKNOWN_NAMESPACE, "unknown-namespace")
    assert "penstock namespace declare" in reason["message"]
    assert not any(session.namespace for session in broker.engine.broker.sessions.values())


async def test_a_namespace_with_all_its_connections_ends_the_next_and_takes_one_when_one_has_gone(
    broker: Broker,
) -> None:
    first = await inside(broker, max_connections=1)
    for _ in range(2):
        peer = Peer(broker)
        peer.hello(namespace="billing")
        peer.authenticate()
        assert peer.closed_with()["error"] == "namespace-full"
    first.send(FrameType.CLOSE, control.pack({}), 9)
    await first.next(FrameType.CLOSED)
    await inside(broker, max_connections=1)


@pytest.mark.parametrize("namespace", [5, b"billing", "x" * 256])
async def test_what_is_no_name_breaks_the_protocol(broker: Broker, namespace: Any) -> None:
    peer = Peer(broker)
    peer.hello(namespace=namespace)
    assert peer.closed_with()["code"] == ErrorCode.MALFORMED_FRAME
