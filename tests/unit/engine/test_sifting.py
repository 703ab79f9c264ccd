from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core import sieve
from penstock.core.group import Group
from penstock.core.values import ACK, NACK
from penstock.engine import sifting
from penstock.selectors import parse_selector
from penstock_client.wire import blocks


def declare(bench: Bench, where: str = "n = 1", group: str = "eu", **settings: Any) -> None:
    bench.declare(**settings.pop("queue", {}))
    bench.peer().call("group_declare", queue="jobs", group=group, where=parse_selector(where), **settings)


def publish(bench: Bench, *numbers: int, per_block: int = 4) -> None:
    """Publish messages whose header ``n`` and body are these numbers."""
    peer = bench.peer().open("jobs")
    for start in range(0, len(numbers), per_block):
        part = numbers[start : start + per_block]
        block = blocks.encode_block([b"%d" % number for number in part], headers=[{"n": number} for number in part])
        bench.engine.publish(peer.session, [(1, 0, start + 1, len(part), block)])
    bench.work()


def consume(bench: Bench, prefetch: int = 100, group: str = "eu") -> Peer:
    peer = bench.peer("worker")
    peer.ask("consume", consumer=1, queue="jobs", group=group, prefetch_messages=prefetch)
    bench.work()
    return peer


def offsets(peer: Peer) -> list[int]:
    return [offset for one in peer.deliveries for offset in range(one.offset, one.offset + one.message_count)]


def info(bench: Bench, group: str = "eu") -> dict[str, Any]:
    return bench.peer().call("group_describe", queue="jobs", group=group)


def group_of(bench: Bench, group: str = "eu") -> Group:
    return bench.engine.broker.names["jobs"].group_names[group]


def test_a_filtered_group_is_handed_what_its_selector_selects(bench: Bench) -> None:
    declare(bench)
    publish(bench, 1, 2, 1, 3, 3, 3, 3, 3, 1)

    assert offsets(consume(bench)) == [0, 2, 8]
    assert info(bench)["where"] == "n = 1"


def test_messages_that_are_not_selected_count_as_done(bench: Bench) -> None:
    """I12."""
    declare(bench)
    publish(bench, 1, 2, 1, 3)

    told = info(bench)
    assert (told["filtered"], told["ready"], told["messages"]) == (2, 2, 2)
    worker = consume(bench)
    worker.settle(ACK, (1, 2))
    bench.work()
    told = info(bench)
    assert (told["filtered"], told["acked"], told["messages"], told["low_offset"]) == (2, 2, 0, 4)


def test_what_no_group_wants_is_not_kept(bench: Bench) -> None:
    declare(bench, "n = 5")
    publish(bench, 1, 2, 3, 4)

    told = bench.peer().call("queue_describe", queue="jobs")
    assert (told["bytes"], told["start_offset"]) == (0, 4)


def test_groups_filter_each_for_themselves(bench: Bench) -> None:
    declare(bench)
    bench.peer().call("group_declare", queue="jobs", group="all")
    bench.peer().call("group_declare", queue="jobs", group="two", where=parse_selector("n = 2"))
    publish(bench, 1, 2, 3, 2)

    assert offsets(consume(bench)) == [0]
    assert offsets(consume(bench, group="two")) == [1, 3]
    assert offsets(consume(bench, group="all")) == [0, 1, 2, 3]


def test_old_messages_are_filtered_when_the_group_first_passes(bench: Bench) -> None:
    """SEMANTICS 14."""
    bench.declare()
    publish(bench, 1, 2, 1)
    bench.empty_cache()
    bench.peer().call("group_declare", queue="jobs", group="eu", where=parse_selector("n = 1"))

    assert offsets(consume(bench)) == [0, 2]


def test_nothing_is_handed_out_before_the_selector_was_applied(bench: Bench) -> None:
    declare(bench)
    peer = bench.peer().open("jobs")
    worker = consume(bench)
    block = blocks.encode_block([b"a", b"b"], headers=[{"n": 2}, {"n": 1}])
    bench.engine.publish(peer.session, [(1, 0, 1, 2, block)])
    bench.commit()
    bench.empty_cache()
    bench.engine.turn()
    bench.engine.turn()
    assert worker.deliveries == [], "the block is being read"
    bench.work()
    assert offsets(worker) == [1]


def test_after_a_restart_what_was_filtered_stays_so_and_the_rest_is_looked_at_again(bench: Bench) -> None:
    """I18."""
    declare(bench)
    publish(bench, 1, 2, 1, 2, 1)
    worker = consume(bench, prefetch=1)
    worker.settle(ACK, (1, 1))
    bench.work()
    bench.start()

    assert info(bench)["filtered"] == 2
    bench.work()
    assert info(bench)["filtered"] == 2
    assert info(bench)["where"] == "n = 1"
    publish(bench, 2, 1)
    assert sorted(offsets(consume(bench))) == [2, 4, 6]


def test_a_snapshot_keeps_the_selector_and_what_it_filtered(bench: Bench) -> None:
    """I18."""
    declare(bench)
    publish(bench, 1, 2, 1, 2, 1)
    bench.keep_house()
    before = info(bench)
    bench.start()

    assert info(bench) == before
    assert offsets(consume(bench)) == [0, 2, 4]


def test_a_failed_message_of_a_filtered_group_comes_back(bench: Bench) -> None:
    declare(bench, queue={"backoff_min_ms": 0, "backoff_max_ms": 0})
    publish(bench, 2, 1, 2, 1)
    worker = consume(bench, prefetch=1)
    worker.settle(NACK, (1, 1), duration_ms=0)
    bench.work()

    assert offsets(worker) == [1, 1]


def test_a_group_is_sifted_only_so_far_ahead(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """I13: every other message is a run of its own in memory."""
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 3)
    monkeypatch.setattr(sifting, "SLICE_MESSAGES", 1)
    declare(bench)
    publish(bench, *([1, 2] * 20), per_block=2)
    assert len(group_of(bench).passed) <= 3
    assert info(bench)["filtered"] <= 3

    worker = consume(bench)
    assert offsets(worker) == list(range(0, 40, 2))
    assert info(bench)["filtered"] == 20


def test_groups_take_turns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sifting, "SLICE_MESSAGES", 1)
    declare(bench)
    bench.peer().call("group_declare", queue="jobs", group="two", where=parse_selector("n = 2"))
    publish(bench, *([3] * 12), per_block=2)

    assert (info(bench)["filtered"], info(bench, "two")["filtered"]) == (12, 12)


def test_a_purge_leaves_nothing_to_sift(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """I12."""
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 1)
    monkeypatch.setattr(sifting, "SLICE_MESSAGES", 1)
    declare(bench)
    publish(bench, *([1, 2] * 10), per_block=2)
    bench.peer().call("queue_purge", queue="jobs", group="eu")
    told = info(bench)
    assert told["messages"] == 0
    assert told["filtered"] + told["purged"] == 20


@pytest.mark.parametrize("command", ["queue_delete", "group_delete"])
def test_what_is_deleted_while_its_blocks_are_read_is_left_alone(bench: Bench, command: str) -> None:
    declare(bench)
    publish(bench, 1, 2)
    bench.start()
    bench.engine.turn()
    assert bench.engine.loads, "the sifter reads"
    group = {"group": "eu"} if command == "group_delete" else {}
    bench.peer().call(command, queue="jobs", **group)
    bench.work()

    assert not bench.engine.broker.sifting


def test_an_ephemeral_group_of_a_memory_queue_may_be_filtered(bench: Bench) -> None:
    declare(bench, queue={"durable": False}, ephemeral=True)
    worker = consume(bench)
    publish(bench, 1, 2, 1)

    first = offsets(worker)[0]
    assert offsets(worker) == [first, first + 2]


def test_a_message_that_cannot_be_decoded_is_not_selected(bench: Bench) -> None:
    declare(bench)
    peer = bench.peer().open("jobs")
    block = blocks.encode_block([b"a"], headers=[5])  # type: ignore[list-item]
    bench.engine.publish(peer.session, [(1, 0, 1, 1, block)])
    bench.work()

    assert info(bench)["filtered"] == 1


def test_a_search_does_not_show_what_is_about_to_be_filtered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 1)
    monkeypatch.setattr(sifting, "SLICE_MESSAGES", 1)
    declare(bench)
    publish(bench, *([1, 2] * 5), per_block=2)

    found = bench.peer().call("find", queue="jobs", group="eu")["found"]
    assert [entry["offset"] for entry in found] == [0, 2, 4, 6, 8]


def test_altering_other_settings_keeps_the_selector(bench: Bench) -> None:
    """I18."""
    declare(bench)
    assert bench.peer().call("group_alter", queue="jobs", group="eu", rate_per_s=1000.0)["changed"]
    bench.start()
    publish(bench, 1, 2)

    assert (info(bench)["where"], info(bench)["filtered"]) == ("n = 1", 1)


def test_another_selector_is_another_setting(bench: Bench) -> None:
    declare(bench)
    peer = bench.peer()
    assert peer.call("group_declare", queue="jobs", group="eu", where=parse_selector("n = 1"))["created"] is False
    refusal = peer.refusal("group_declare", queue="jobs", group="eu", where=parse_selector("n = 2"))
    assert refusal.code == "settings-differ"
    assert "where is 'n = 2', not 'n = 1'" in refusal.message
    assert peer.refusal("group_declare", queue="jobs", group="us", where="n = 2").code == "bad-setting"
    assert peer.refusal("group_declare", queue="jobs", group="", where=parse_selector("a = 1")).code == "bad-setting"


def test_a_keyed_group_filters_before_it_looks_at_keys(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 2)
    declare(bench, mode="keyed")
    publish(bench, *([1, 2, 3] * 8))
    worker = consume(bench, prefetch=1)
    for tag in range(1, 9):
        worker.settle(ACK, (tag, tag))
        bench.work()

    assert offsets(worker) == list(range(0, 24, 3))
    assert info(bench)["filtered"] == 16


def test_messages_of_other_groups_do_not_stop_a_selector(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "EXCEPTIONS_MAX", 1)
    declare(bench)
    worker = consume(bench, prefetch=1)
    publish(bench, *([2, 1] * 6), per_block=2)
    for tag in range(1, 7):
        worker.settle(ACK, (tag, tag))
        bench.work()

    assert offsets(worker) == list(range(1, 12, 2))


def alter(bench: Bench, where: str | None) -> dict[str, Any]:
    selector = parse_selector(where) if where else None
    changed: dict[str, Any] = bench.peer().call("group_alter", queue="jobs", group="eu", where=selector)["changed"]
    return changed


@pytest.mark.parametrize("mode", ["shared", "keyed", "single"])
def test_another_selector_looks_at_what_nobody_was_handed(bench: Bench, mode: str) -> None:
    """SEMANTICS 14: what was filtered stays so."""
    declare(bench, "n < 3", mode=mode)
    publish(bench, 1, 2, 1, 3, 2, 1, 3, 2, 1, per_block=3)
    worker = consume(bench, prefetch=2)
    assert offsets(worker) == [0, 1]
    altered = worker.ask("group_alter", queue="jobs", group="eu", where=parse_selector("n > 1"))
    worker.settle(ACK, (1, 2))
    worker.ask("flow", consumer=1, prefetch_messages=100)
    bench.work()
    assert worker.replies[altered] == {"changed": {"where": ("n < 3", "n > 1")}}
    assert offsets(worker) == [0, 1, 4, 7], "nothing that was let through before, though there was credit at once"
    worker.settle(ACK, (3, 4))
    bench.work()
    assert info(bench)["filtered"] == 5
    assert info(bench)["messages"] == 0


@pytest.mark.parametrize("mode", ["shared", "keyed", "single"])
def test_a_selector_may_come_and_go(bench: Bench, mode: str) -> None:
    bench.declare()
    bench.peer().call("group_declare", queue="jobs", group="eu", mode=mode)
    publish(bench, 1, 2, 1, 3)
    assert alter(bench, "n = 1") == {"where": ("", "n = 1")}
    assert alter(bench, "n = 1") == {}
    bench.start()
    assert info(bench)["where"] == "n = 1"
    assert alter(bench, None) == {"where": ("n = 1", "")}
    bench.start()
    assert offsets(consume(bench)) in ([0, 2], [0, 1, 2, 3]), "what was filtered before stays so"
    assert info(bench)["where"] == ""


def test_what_was_handed_out_before_comes_again_whatever_is_selected_now(bench: Bench) -> None:
    declare(bench, "n = 1", queue={"backoff_min_ms": 0, "backoff_max_ms": 0})
    publish(bench, 1, 1)
    worker = consume(bench)
    alter(bench, "n = 2")
    worker.settle(NACK, (1, 2), duration_ms=0)
    bench.work()
    assert offsets(worker) == [0, 1, 0, 1]


def test_the_default_group_selects_everything(bench: Bench) -> None:
    bench.declare()
    refusal = bench.peer().refusal("group_alter", queue="jobs", group="", where=parse_selector("n = 1"))
    assert (refusal.code, "name" in refusal.message) == ("bad-setting", True)


def test_what_a_group_does_not_want_is_no_dead_letter_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what it has not looked at yet when its time is over, it lets go as it comes to it."""
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 1)
    declare(bench, queue={"ttl_ms": 1000, "on_expired": "dead-letter"})
    publish(bench, 1, 2, 1, 2, per_block=1)
    assert info(bench)["filtered"] == 0
    bench.pass_time(1000)
    bench.work()

    assert (info(bench)["filtered"], info(bench)["dead_lettered"], info(bench)["messages"]) == (2, 2, 0)


def test_where_nobody_keeps_what_expired_it_goes_before_it_was_looked_at(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 1)
    declare(bench, queue={"ttl_ms": 1000})
    publish(bench, 1, 2, 1, 2, per_block=1)
    bench.pass_time(1000)
    bench.work()

    assert (info(bench)["filtered"], info(bench)["expired"], info(bench)["messages"]) == (0, 4, 0)


def test_a_filtered_group_goes_by_priority_among_what_it_has_looked_at(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 2)
    monkeypatch.setattr(sifting, "SLICE_MESSAGES", 1)
    declare(bench)
    peer = bench.peer().open("jobs")
    for sequence, (number, priority) in enumerate([(1, 4), (2, 9), (1, 9), (1, 4), (1, 9)], 1):
        block = blocks.encode_block([b"x"], headers=[{"n": number}], properties=[{"priority": priority}])
        bench.engine.publish(peer.session, [(1, 0, sequence, 1, block)], [0])
    bench.work()
    worker = consume(bench, prefetch=1)
    for tag in range(1, 5):
        worker.settle(ACK, (tag, tag))
        bench.work()

    assert offsets(worker) == [2, 0, 4, 3]


def test_what_expired_before_it_was_looked_at_is_a_dead_letter_once_the_group_wants_everything(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I20: nobody would look at it again."""
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 1)
    declare(bench, queue={"ttl_ms": 1000, "on_expired": "dead-letter"})
    publish(bench, 1, 2, per_block=1)
    worker = consume(bench, prefetch=1)
    publish(bench, 1, 2, per_block=1)
    bench.engine.broker.sifting.clear()
    bench.pass_time(1000)
    alter(bench, None)
    bench.work()

    assert (info(bench)["leased"], info(bench)["messages"]) == (1, 1)
    worker.settle(ACK, (1, 1))
    bench.work()
    assert info(bench)["messages"] == 0
