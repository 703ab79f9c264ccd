"""A worker process: takes jobs in batches, indexes each file, publishes the results, then acknowledges the jobs.

The order is the point. The results are on disk before the jobs are acknowledged, so a kill at any moment loses nothing;
at worst a job is done twice. What the worker is doing is printed as one JSON object per line, for whoever started it.
"""

import argparse
import asyncio
import json
import signal

from examples.stdlib_index.extract import index_source

from penstock_client import Message, StaleDelivery, connect

JOBS_QUEUE = "stdlib.files"
RESULTS_QUEUE = "stdlib.index"
BATCH_MESSAGES_MAX = 8


def report(event: str, files: list[str]) -> None:
    """Print one line about these files."""
    print(json.dumps({"event": event, "files": files}), flush=True)


async def work(url: str, name: str) -> None:
    """Index files until cancelled."""
    async with connect(url, name=name) as client:
        results = client.queue(RESULTS_QUEUE)
        async with client.queue(JOBS_QUEUE).consume(prefetch=2 * BATCH_MESSAGES_MAX) as jobs:
            async for batch in jobs.batches(max=BATCH_MESSAGES_MAX, wait=0.02):
                files = [str(job.headers["file"]) for job in batch]
                report("took", files)
                found: list[Message] = []
                for job, file in zip(batch, files, strict=True):
                    record = await asyncio.to_thread(index_source, file, job.body)
                    about = {"file": file, "worker": name, "attempt": job.attempt, "failures": job.failures}
                    found.append(Message(record.encode(), headers=about))
                    report("indexed", [file])
                await results.publish_many(found)
                try:
                    await batch.ack()
                except StaleDelivery:
                    report("stale", files)  # the connection was lost in between: others have these jobs now
                else:
                    report("acked", files)


async def main() -> None:
    """Work until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--name", required=True)
    arguments = parser.parse_args()
    task = asyncio.create_task(work(arguments.url, arguments.name))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


if __name__ == "__main__":
    asyncio.run(main())
