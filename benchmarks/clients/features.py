"""What Penstock's loads do for a feature beside the plain queue: preparing, publishing, and which groups consume."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks.jobs import Tally
from penstock_client import Client, Message, Queue

KEYS: Final = 100_000
"""Keys that messages have, drawn at random."""
DELAY_SECONDS: Final = 1.0
GROUP_COUNT: Final = 5
PRIORITIES: Final = 10
TRANSACTION_MESSAGES: Final = 10
TRANSACTIONS_UNDER_WAY: Final = 50

Publish = Callable[[Client, str, bytes, Tally], Awaitable[None]]


async def _through_topic(client: Client, queue: str, body: bytes, tally: Tally) -> None:
    """Through a topic exchange with one binding."""
    events = client.exchange(f"{queue}.events", "topic")
    await events.declare()
    await events.bind(queue, "orders.*.new")
    async with events.publisher() as publisher:
        while not tally.stopping and tally.count < tally.limit:
            await publisher.send("orders.eu.new", body)
            tally.count += 1


async def _with_keys(client: Client, queue: str, body: bytes, tally: Tally) -> None:
    """With keys, made before the clock starts to matter: a message is built for each send."""
    chooser = random.Random(KEYS)
    keys = [f"key-{chooser.randrange(KEYS)}" for _ in range(2 * KEYS)]
    await _send(client, queue, tally, lambda number: Message(body, key=keys[number % len(keys)]))


async def _delayed(client: Client, queue: str, body: bytes, tally: Tally) -> None:
    await _send(client, queue, tally, lambda _: Message(body, delay=DELAY_SECONDS))


async def _by_priority(client: Client, queue: str, body: bytes, tally: Tally) -> None:
    """With one of ten priorities each, so that hardly two neighbours have the same."""
    chooser = random.Random(PRIORITIES)
    messages = [Message(body, priority=chooser.randrange(PRIORITIES)) for _ in range(KEYS)]
    await _send(client, queue, tally, lambda number: messages[number % len(messages)])


async def _send(client: Client, queue: str, tally: Tally, message: Callable[[int], Message]) -> None:
    async with client.queue(queue).publisher() as publisher:
        while not tally.stopping and tally.count < tally.limit:
            await publisher.send(message(tally.count))
            tally.count += 1


async def _in_transactions(client: Client, queue: str, body: bytes, tally: Tally) -> None:
    """Ten messages a transaction, many transactions under way."""

    async def work() -> None:
        while not tally.stopping and tally.count < tally.limit:
            async with client.transaction() as transaction:
                for _ in range(TRANSACTION_MESSAGES):
                    transaction.publish(queue, body)
            tally.count += TRANSACTION_MESSAGES

    await asyncio.gather(*(work() for _ in range(TRANSACTIONS_UNDER_WAY)))


async def _declare_keyed(queue: Queue) -> None:
    await queue.group("keyed", mode="keyed").declare()


async def _declare_groups(queue: Queue) -> None:
    for name in GROUPS["groups"]:
        await queue.group(name).declare()


PUBLISHES: Final[dict[str, Publish]] = {
    "topic": _through_topic,
    "keys": _with_keys,
    "keyed": _with_keys,
    "delay": _delayed,
    "priority": _by_priority,
    "transaction": _in_transactions,
}
DECLARES: Final[dict[str, Callable[[Queue], Awaitable[None]]]] = {"keyed": _declare_keyed, "groups": _declare_groups}
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "keyed": ("keyed",),
    "groups": tuple(f"group-{number}" for number in range(GROUP_COUNT)),
}
"""Which groups a consumer takes from, where it is not the default one."""
