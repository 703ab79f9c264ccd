"""MESSAGE_DESCRIBE: answered from memory or from the journal, also when the message ends meanwhile."""

from typing import Any

from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import ACK, NACK
from penstock_client.wire import blocks


def failing(bench: Bench) -> Peer:
    """A worker that has failed one of two messages and holds the other."""
    bench.declare(lease_ms=1000)
    peer = bench.peer("worker").open("jobs").consume("jobs")
    peer.publish(1, b"one", b"two")
    bench.work()
    bench.now_ms += 40
    peer.settle(NACK, (1, 1), duration_ms=5000, reason="busy")
    bench.work()
    return peer


def describe(bench: Bench, offset: int, **more: Any) -> dict[str, Any]:
    return bench.peer().call("message_describe", queue="jobs", offset=offset, **more)


def test_a_message_is_told_with_its_failures_and_its_body(bench: Bench) -> None:
    failing(bench)
    found = describe(bench, 0)
    assert blocks.decode_bodies(found.pop("block")) == [b"one"]
    failure = {
        "time_ms": bench.now_ms, "attempt": 1, "consumer": "worker", "reason": "busy", "leased_at_ms": bench.now_ms - 40
    }  # fmt: skip
    assert found == {
        "queue": "jobs",
        "group": "",
        "offset": 0,
        "state": "scheduled",
        "attempts": 1,
        "failures": 1,
        "history": [failure],
        "consumer": "",
        "leased_at_ms": 0,
        "until_ms": bench.now_ms + 5000,
        "published_at_ms": bench.now_ms - 40,
    }
    held = describe(bench, 1)
    assert (held["state"], held["consumer"], held["leased_at_ms"]) == ("leased", "worker", bench.now_ms - 40)


def test_failures_and_their_times_survive_a_restart(bench: Bench) -> None:
    failing(bench)
    before = describe(bench, 0)
    bench.start()
    assert describe(bench, 0) | {"block": before["block"]} == before
    assert describe(bench, 1)["state"] == "ready"


def test_a_block_that_is_not_in_memory_is_read(bench: Bench) -> None:
    failing(bench)
    bench.empty_cache()
    peer = bench.peer()
    request = peer.ask("message_describe", queue="jobs", offset=0)
    assert request not in peer.replies
    bench.work()
    assert peer.replies[request]["history"][0]["reason"] == "busy"


def test_a_message_that_ends_while_its_block_is_read_is_refused(bench: Bench) -> None:
    worker = failing(bench)
    bench.empty_cache()
    peer = bench.peer()
    request = peer.ask("message_describe", queue="jobs", offset=1)
    worker.settle(ACK, (2, 2))
    bench.work()
    assert peer.refusals[request].code == "unknown-message"


def test_nobody_is_told_who_has_gone(bench: Bench) -> None:
    failing(bench)
    bench.empty_cache()
    peer = bench.peer()
    request = peer.ask("message_describe", queue="jobs", offset=0)
    bench.engine.close_session(peer.session, lost=True)
    bench.work()
    assert request not in peer.replies


def test_wrong_arguments_are_refused(bench: Bench) -> None:
    failing(bench)
    peer = bench.peer()
    assert peer.refusal("message_describe", queue="jobs").code == "bad-setting"
    assert peer.refusal("message_describe", queue="jobs", offset=-1).code == "bad-setting"
    assert peer.refusal("message_describe", queue="jobs", offset=0, count=1).code == "bad-setting"
    assert peer.refusal("message_describe", queue="jobs", offset=7).code == "unknown-message"
    assert peer.refusal("message_describe", queue="mails", offset=0).code == "unknown-queue"
    assert peer.refusal("message_describe", queue="jobs", offset=0, group="x").code == "unknown-group"
