"""What keyed hand-outs cost the broker's decisions beside shared ones, without network and disk.

    python -m benchmarks.keyed

Publishes messages with keys drawn at random from 100,000 (and, for the other extreme, from 10) in blocks of 500, hands
them out to one consumer that acknowledges as it goes, and prints the time a message takes in core and the block codec:
decided, handed out, cut out of its block, acknowledged. Modes take turns within a run; the smallest of five counts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from penstock.core import definitions, delivery, groups, publishing, settling
from penstock.core.broker import Broker, Delivery
from penstock.core.facts import Fact, Published
from penstock.core.keyed import look_at, wants_to_look
from penstock.core.session import Session
from penstock.core.values import ACK, GroupSettings, QueueSettings
from penstock.net.codec import WireBlockCodec
from penstock_client.wire.blocks import encode_block

BLOCK_MESSAGES = 500
MESSAGES = 200_000
PREFETCH = 1_000
ROUNDS = 5


class Bench:
    """A broker's core, a queue with one group, a consumer."""

    def __init__(self, mode: str) -> None:
        self.codec = WireBlockCodec()
        self.blocks: list[bytes] = []
        self.broker = Broker(self, 1, self.codec)
        self.queue, _ = definitions.declare(self.broker, "jobs", QueueSettings(), 0, 10)
        settings = GroupSettings(mode=mode)
        self.group, _ = groups.declare_group(self.broker, self.queue, "g", settings, 0, 0, 10)
        self.session = Session(1, "peer", self.broker.deadlines)
        self.broker.sessions[1] = self.session
        definitions.open_producer(self.broker, self.session, None, 0)
        publishing.open_route(self.broker, self.session, 1, "jobs", 10)
        delivery.consume(self.broker, self.session, self.group, 1, PREFETCH, 1 << 40, "", 10)

    def record(self, fact: Fact) -> int:
        if isinstance(fact, Published):
            self.blocks.append(fact.block)
            return len(self.blocks) - 1
        return 0

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def hold(self, fact: Published) -> int:
        return self.record(fact)

    def publish(self, keys: Sequence[str]) -> None:
        block = encode_block([b"x" * 100] * len(keys), keys=keys)
        first = self.queue.log.next_offset + 1
        publishing.publish(self.broker, self.session, [(1, 0, first, len(keys), block)], 0)
        self.broker.confirms.clear()
        delivery.make_visible(self.broker, self.queue, self.queue.log.next_offset)

    def drain(self) -> float:
        """Hand everything out and acknowledge it; return the seconds it took."""
        started = time.perf_counter()
        while self.group.open_count:
            self._turn()
        return time.perf_counter() - started

    def _turn(self) -> None:
        broker = self.broker
        delivery.dispatch(broker, 0)
        while broker.looking:
            broker.looking.clear()
            while wants_to_look(self.group) and self.group.index is not None:
                block = self.queue.log.block_at(self.group.index.next_look)
                look_at(self.group, block.first, self.codec.keys(self.blocks[block.position]))
            broker.ready_groups[self.group] = None
            delivery.dispatch(broker, 0)
        out, broker.deliveries = broker.deliveries, []
        for one in out:
            self._deliver(one)
        settling.settle(broker, self.session, ACK, _ranges(out), 0, "", 0)
        broker.dropped.clear()

    def _deliver(self, one: Delivery) -> None:
        if one.first != one.block.first or one.end != one.block.end:
            block = self.blocks[one.block.position]
            self.codec.slice(block, one.first - one.block.first, one.end - one.block.first)


def _ranges(out: list[Delivery]) -> list[tuple[int, int]]:
    return [(out[0].first_tag, out[-1].first_tag + out[-1].end - out[-1].first - 1)] if out else []


def measure(mode: str, key_count: int) -> tuple[float, float]:
    """Return microseconds a message: publishing, and handing out with acknowledging."""
    rng = random.Random(f"keys {key_count}")
    bench = Bench(mode)
    names = [f"key-{number}" for number in range(key_count)]
    keys = [rng.choices(names, k=BLOCK_MESSAGES) for _ in range(MESSAGES // BLOCK_MESSAGES)]
    started = time.perf_counter()
    for block_keys in keys:
        bench.publish(block_keys)
    published = time.perf_counter() - started
    return published * 1e6 / MESSAGES, bench.drain() * 1e6 / MESSAGES


def main() -> None:
    """Print the table."""
    cases = [("shared", 100_000), ("keyed", 100_000), ("keyed", 10_000), ("keyed", 10)]
    best = {case: min(measure(*case)[1] for _ in range(ROUNDS)) for case in cases}
    shared = best["shared", 100_000]
    for (mode, key_count), micros in best.items():
        print(f"{mode:7} {key_count:>8,} keys: {micros:6.2f} us a message, {micros / shared:5.1f} x shared")


if __name__ == "__main__":
    main()
