"""Times routing alone: matching among few and many bindings, and one publish into five queues beside five publishes.

python -m benchmarks.routing        # a minute, in memory; each figure is the best of several runs, in CPU time
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from benchmarks.memory_engine import MemoryEngine, connect, queues_named
from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.matching import NO_MESSAGE, Destination, make_matcher
from penstock_client.wire.blocks import encode_block

RUNS: Final = 7
REGIONS: Final = ("eu", "us", "asia", "africa")


def best_us(work: Callable[[], None], times: int) -> float:
    """Microseconds of CPU for one time, in the best of several runs."""
    spent = []
    for _ in range(RUNS):
        start = time.process_time()
        for _ in range(times):
            work()
        spent.append(time.process_time() - start)
    return min(spent) / times * 1e6


def match_us(kind: str, count: int, keys_max: int) -> float:
    """Match keys among ``count`` bindings, up to ``keys_max`` keys in turn: of many, the caches hold only some.

    Of each ten bindings eight name a region, a customer and a number; one has ``*`` and one ``#``.
    """
    keys = []
    matcher = make_matcher(ExchangeSettings(type=kind))
    for number in range(count):
        region, customer = REGIONS[number % 4], number // 10
        pattern = f"orders.{region}.c{customer}.n{number}"
        if kind == "topic" and number % 10 >= 8:
            pattern = f"orders.*.c{customer}.x" if number % 10 == 8 else f"returns.c{customer}.#"
        else:
            keys.append(pattern)
        matcher.add(Destination.to_queue(number), pattern, {})
    keys = keys[:: max(1, len(keys) // keys_max)]

    def match_all() -> None:
        for key in keys:
            for _ in matcher.match(key, NO_MESSAGE):
                pass

    assert all(len(list(matcher.match(key, NO_MESSAGE))) == 1 for key in keys)
    return best_us(match_all, 20_000 // len(keys)) / len(keys)


def publish_us(engine: MemoryEngine, routes: list[int], block: bytes, count: int) -> float:
    """Publish one block on each of these routes and commit."""
    session = engine.session
    sequences = dict.fromkeys(routes, 1)

    def once() -> None:
        engine.engine.publish(session, [(route, 0, sequences[route], count, block) for route in routes])
        for route in routes:
            sequences[route] += count
        engine.commit()

    return best_us(once, 300)


def main() -> None:
    """Print everything."""
    for kind, keys_max in (("topic", 8), ("topic", 1000), ("direct", 1000)):
        few, many = match_us(kind, 10, keys_max), match_us(kind, 10_000, keys_max)
        keys = f"up to {keys_max:,} keys in turn"
        print(f"{kind}, {keys}: among 10 bindings {few:.2f} us, among 10,000 {many:.2f} us: {many / few:.2f} x")
    for count, body_bytes in ((1, 100), (100, 100), (1, 10_000)):
        plain = encode_block([b"x" * body_bytes] * count)
        routed = encode_block([b"x" * body_bytes] * count, routing=("events", "orders.eu.new"))
        names = queues_named(5)
        one = publish_us(connect(names), [1], plain, count)
        five = publish_us(connect(names), [1, 2, 3, 4, 5], plain, count)
        single = publish_us(connect(names[:1], topic="events", key="orders.eu.new"), [100], routed, count)
        fan_out = publish_us(connect(names, topic="events", key="orders.eu.new"), [100], routed, count)
        print(
            f"{count} x {body_bytes} B: one queue {one:.1f} us, through a topic {single:.1f} us ({single / one:.2f} x);"
            f" five queues by five blocks {five:.1f} us, through a topic {fan_out:.1f} us ({fan_out / five:.2f} x)"
        )


if __name__ == "__main__":
    main()
