"""A load process: reads jobs from standard input, answers "ready", waits for "go", works, answers with the outcome.

One process stays for a whole visit to a broker, so that no measurement contains the start of an interpreter.
"""

import asyncio
import gc
import sys

import uvloop

from benchmarks import client_loads, raw, request_loads
from benchmarks.jobs import Job, Outcome, decode_job, encode_line


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _wait_for_go() -> None:
    _say("ready\n")
    if sys.stdin.readline() != "go\n":
        raise SystemExit(0)


async def _wait_for_go_async() -> None:
    await asyncio.get_running_loop().run_in_executor(None, _wait_for_go)


def work(job: Job) -> Outcome:
    """Do one job. An exception ends this process, its text in the log; the harness notes it and starts another."""
    if job.raw:
        return raw.run(job, _wait_for_go)
    run = request_loads.run if job.action in request_loads.ACTIONS else client_loads.run
    return uvloop.run(run(job, _wait_for_go_async))


def main() -> None:
    """Work until standard input ends."""
    while line := sys.stdin.readline():
        gc.collect()
        _say(encode_line(work(decode_job(line))))


if __name__ == "__main__":
    main()
