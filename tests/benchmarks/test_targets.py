from benchmarks.results import MACHINE, Results
from benchmarks.targets import judge, remarks


def row(results: Results, words: str) -> tuple[bool | None, float]:
    found = [one for one in judge(results) if words in one.target]
    assert len(found) == 1
    return found[0].met, round(found[0].ratio or 0.0, 3)


def test_a_floor_is_compared_with_the_best_peer_of_the_same_run() -> None:
    results = Results()
    results.add("penstock", "client_publish", 600_000)
    results.add("redis", "client_publish", 30_000)
    results.add("nats-default", "client_publish", 50_000)
    assert row(results, "publish, SDK") == (False, 0.8)


def test_an_unsynced_peer_does_not_count_where_only_synced_ones_are_compared() -> None:
    results = Results()
    results.add("penstock", "connections_publish", 50_000)
    results.add("redis", "connections_publish", 40_000)
    results.add("nats-default", "connections_publish", 90_000)
    assert row(results, "500 connections") == (True, 1.25)


def test_the_confirm_target_moves_with_the_disk() -> None:
    results = Results()
    results.add("penstock", "client_confirm_p50_ms", 0.6)
    results.add(MACHINE, "append_sync_ms", 0.3)
    assert row(results, "one message at a time") == (True, 1.0)


def test_the_median_of_the_rounds_decides() -> None:
    results = Results()
    for seconds in (1.0, 1.1, 9.0):
        results.add("penstock", "client_cpu", seconds)
    assert row(results, "broker CPU")[0]


def test_a_target_that_was_not_measured_is_neither_met_nor_missed_but_shown() -> None:
    rows = judge(Results())
    assert {one.number for one in rows} == {"1", "2", "3", "4", "5", "6", "7"}
    assert {(one.met, one.reached) for one in rows} == {(None, "not measured")}


def test_the_fastest_interface_of_a_peer_is_not_hidden() -> None:
    results = Results()
    results.add("penstock", "client_consume", 600_000)
    results.add("nats-default", "callback_consume", 120_000)
    assert "5.0 x" in remarks(results)[0]
