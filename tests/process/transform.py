"""A worker that consumes, transforms and produces, each batch in one transaction: a process of its own, to be killed.

python -m tests.process.transform URL SEED
"""

import asyncio
import random
import sys
from typing import Final

from penstock_client import (
    Batch,
    Client,
    ConnectionLost,
    TransactionConflict,
    TransactionStale,
    TransactionUnknown,
    connect,
)

INPUTS: Final = "inputs"
OUTPUTS: Final = "outputs"
AUDIT: Final = "audit"
AUDITED_EVERY: Final = 3
"""One of so many inputs has an effect in a second queue as well."""
BATCH_MAX: Final = 20


async def work(url: str, seed: str) -> None:
    """Work until killed."""
    source = random.Random(seed)
    while True:
        try:
            await visit(url, source)
        except ConnectionLost:
            await asyncio.sleep(0.02)  # it came while there was no broker


async def visit(url: str, source: random.Random) -> None:
    """Work over one client, which comes back by itself when the broker does."""
    async with connect(url) as client, client.queue(INPUTS).consume(prefetch=100) as messages:
        async for batch in messages.batches(max=source.randint(1, BATCH_MAX), wait=0.01):
            while not await transform(client, batch):
                pass


async def transform(client: Client, batch: Batch) -> bool:
    """Have one batch's effects happen, all together; False when it has to be tried again."""
    try:
        async with client.transaction(group=client.queue(INPUTS).group()) as tx:
            for message in batch:
                number = int(message.body)
                tx.publish(OUTPUTS, b"%d" % number)
                if number % AUDITED_EVERY == 0:
                    tx.publish(AUDIT, b"%d" % number)
            tx.ack(*batch)
            tx.state["count"] = tx.state.get("count", 0) + len(batch)
            tx.state["sum"] = tx.state.get("sum", 0) + sum(int(message.body) for message in batch)
    except TransactionConflict:  # another worker was faster: its part of the totals is to be read first
        return False
    except TransactionStale:
        for message in batch:
            await message.release()
    except TransactionUnknown:
        pass  # what did not happen comes again
    return True


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
