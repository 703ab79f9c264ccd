"""What times to live and priorities cost the broker's decisions beside plain messages, without network and disk.

    python -m benchmarks.terms

Publishes messages in blocks of 500 and hands them out to one consumer that acknowledges as it goes: plain ones, in a
queue with a time to live, with a time to live each, with one of ten priorities drawn at random, all from a backlog; and
ten priorities again as they come, a block at a time. Prints the CPU time a message takes in core and the block codec.
Cases take turns; the smallest of three counts. Then 100,000 messages, each between two that stay, expire at once.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from penstock.core import asking, definitions, delivery, expiring, groups, settling
from penstock.core.asks import Ask, parse_asks
from penstock.core.broker import Broker, Delivery
from penstock.core.facts import Fact, Published
from penstock.core.publishing import open_route, publish
from penstock.core.session import Session
from penstock.core.values import ACK, GroupSettings, QueueSettings
from penstock.net.codec import WireBlockCodec
from penstock_client.wire.blocks import decode_properties, encode_block

BLOCK_MESSAGES = 500
MESSAGES = 100_000
PREFETCH = 1_000
ROUNDS = 3
TTL_MS = 1_000_000
EXPIRING = 100_000

Properties = dict[str, int] | None


class Bench:
    """A broker's core, a queue with one group, a consumer."""

    def __init__(self, ttl_ms: int = 0) -> None:
        self.codec = WireBlockCodec()
        self.blocks: list[bytes] = []
        self.broker = Broker(self, 1, self.codec)
        self.queue, _ = definitions.declare(self.broker, "jobs", QueueSettings(ttl_ms=ttl_ms), 0, 10)
        self.group, _ = groups.declare_group(self.broker, self.queue, "g", GroupSettings(), 0, 0, 10)
        self.session = Session(1, "peer", self.broker.deadlines)
        self.broker.sessions[1] = self.session
        definitions.open_producer(self.broker, self.session, None, 0)
        open_route(self.broker, self.session, 1, "jobs", 10)
        delivery.consume(self.broker, self.session, self.group, 1, PREFETCH, 1 << 40, "", 10)

    def record(self, fact: Fact) -> int:
        if isinstance(fact, Published):
            self.blocks.append(fact.block)
            return len(self.blocks) - 1
        return 0

    def hold(self, fact: Published) -> int:
        return self.record(fact)

    @contextmanager
    def together(self) -> Iterator[None]:
        yield

    def publish(self, asked: Sequence[Properties]) -> None:
        """Publish a block of messages with these properties, as the engine does."""
        first = self.queue.log.next_offset + 1
        if not any(asked):
            block = encode_block([b"x" * 100] * len(asked))
            publish(self.broker, self.session, [(1, 0, first, len(asked), block)], 0)
        else:
            block = encode_block([b"x" * 100] * len(asked), properties=asked)
            asks: list[Ask] = parse_asks(decode_properties(block) or [], 0)
            asking.publish(self.broker, self.session, (1, 0, first, len(asked), block), asks, (), 0)
        self.broker.confirms.clear()
        delivery.make_visible(self.broker, self.queue, self.queue.log.next_offset)

    def drain(self) -> None:
        """Hand everything out and acknowledge it."""
        while self.group.open_count:
            delivery.dispatch(self.broker, 0)
            out, self.broker.deliveries = self.broker.deliveries, []
            for one in out:
                self._deliver(one)
            settling.settle(self.broker, self.session, ACK, _ranges(out), 0, "", 0)
            self.broker.dropped.clear()

    def _deliver(self, one: Delivery) -> None:
        if one.first != one.block.first or one.end != one.block.end:
            block = self.blocks[one.block.position]
            self.codec.slice(block, one.first - one.block.first, one.end - one.block.first)


def _ranges(out: list[Delivery]) -> list[tuple[int, int]]:
    return [(out[0].first_tag, out[-1].first_tag + out[-1].end - out[-1].first - 1)] if out else []


def _asked(case: str, rng: random.Random) -> list[Properties]:
    if case == "a time to live each":
        return [{"ttl_ms": rng.randrange(1, TTL_MS)} for _ in range(BLOCK_MESSAGES)]
    if case.startswith("ten priorities"):
        return [{"priority": rng.randrange(10)} for _ in range(BLOCK_MESSAGES)]
    return [None] * BLOCK_MESSAGES


def measure(case: str) -> tuple[float, float]:
    """Return microseconds a message: publishing a backlog, and handing it out; "live": both together, and nothing."""
    rng = random.Random(case)
    bench = Bench(TTL_MS if case == "a queue with a time to live" else 0)
    blocks = [_asked(case, rng) for _ in range(MESSAGES // BLOCK_MESSAGES)]
    started = time.process_time()
    for asked in blocks:
        bench.publish(asked)
        if case.endswith(", live"):
            bench.drain()
    published = time.process_time() - started
    started = time.process_time()
    bench.drain()
    return published * 1e6 / MESSAGES, (time.process_time() - started) * 1e6 / MESSAGES


def expire_scattered() -> None:
    """Every other message expires, all at the same time."""
    bench = Bench()
    tracemalloc.start()
    for _ in range(2 * EXPIRING // BLOCK_MESSAGES):
        bench.publish([{"ttl_ms": 1}, None] * (BLOCK_MESSAGES // 2))
    bench.blocks.clear()
    before, turns, longest = tracemalloc.get_traced_memory()[0], 0, 0.0
    tracemalloc.stop()
    more, started = True, time.process_time()
    while more:
        turn_started = time.process_time()
        more = expiring.expire(bench.broker, 1_000)
        longest = max(longest, time.process_time() - turn_started)
        turns += 1
    seconds = time.process_time() - started
    count = bench.group.counters.discarded[2]
    print(
        f"{count:,} scattered expiries: {seconds:.2f} s, {seconds * 1e6 / count:.1f} us each, in {turns} turns, the"
        f" longest {longest * 1e3:.1f} ms; {len(bench.group.passed):,} ranges; {before / 2**20:.0f} MiB before it"
    )


def main() -> None:
    """Print the table."""
    cases = (
        "plain",
        "a queue with a time to live",
        "a time to live each",
        "ten priorities",
        "plain, live",
        "ten priorities, live",
    )
    found: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
    for _ in range(ROUNDS):
        for case in cases:
            found[case].append(measure(case))
    plain = [min(column) for column in zip(*found["plain"], strict=True)]
    for case, rounds in found.items():
        published, handed_out = (min(column) for column in zip(*rounds, strict=True))
        if case.endswith(", live"):
            print(f"{case:28} published and handed out {published:6.2f} us a message")
        else:
            print(
                f"{case:28} publish {published:6.2f} us a message ({published / plain[0]:.1f} x plain),"
                f" hand out and ack {handed_out:6.2f} us ({handed_out / plain[1]:.1f} x)"
            )
    expire_scattered()


if __name__ == "__main__":
    main()
