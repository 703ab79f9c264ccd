"""The order of the demo: start, publish, work, kill a worker, kill the broker, finish, check."""

import argparse
import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from examples.stdlib_index.check import Verdict, compare, handed_over, plain_index
from examples.stdlib_index.extract import FileIndex
from examples.stdlib_index.library import Library, find_library, standard_library_root
from examples.stdlib_index.pipeline import collect, declare, produce
from examples.stdlib_index.processes import Broker, DemoError, Worker, kill_now
from examples.stdlib_index.progress import Depth, Display, State, show_outcome
from examples.stdlib_index.worker import JOBS_QUEUE, RESULTS_QUEUE
from rich.console import Console

from penstock_client import Client, PenstockError, connect

WORKERS: Final = 4
KILL_WORKER_AT: Final = 0.2
"""The share of the files that are indexed when a worker is killed."""
KILL_BROKER_AT: Final = 0.5
INDEXING_SECONDS_MAX: Final = 150.0
"""A guard against waiting for ever; several times what the run takes."""
REFRESH_SECONDS: Final = 0.1


class Demo:
    """One run."""

    def __init__(self, directory: Path, library: Library, state: State, display: Display) -> None:
        self._directory = directory
        self._library = library
        self._state = state
        self._display = display
        self._broker = Broker(directory)

    async def run(self) -> list[Verdict]:
        """Index everything through the broker, with both kills. Returns what must hold apart from the content."""
        try:
            async with asyncio.timeout(INDEXING_SECONDS_MAX):
                return await self._index()
        except TimeoutError:
            found = len(self._state.collected.records)
            raise DemoError(f"not finished after {INDEXING_SECONDS_MAX:.0f} s: {found:,} files indexed") from None
        finally:
            children: list[Worker | Broker] = [*self._state.workers, self._broker]
            for child in children:
                kill_now(child.process)
            for child in children:
                await child.end()

    async def _index(self) -> list[Verdict]:
        await self._start_broker()
        async with connect(self._broker.url, name="demo") as client:
            await declare(client)
            for worker in self._state.workers:
                await worker.start(self._broker.url, self._directory)
            async with self._in_background(client) as producer:
                verdicts = [await self._kill_worker(), await self._kill_broker()]
                self._state.phase = "indexing"
                published = await producer
                await self._wait_for(lambda: len(self._state.collected.records) >= published)
                self._state.phase = "finishing"
                await self._wait_for(lambda: self._state.jobs.empty and self._state.results.empty)
                verdicts.append(self._emptied())
        verdicts.append(await self._stop_broker())
        return verdicts

    @contextlib.asynccontextmanager
    async def _in_background(self, client: Client) -> AsyncIterator[asyncio.Task[int]]:
        producer = asyncio.create_task(produce(client, self._library))
        tasks = [
            asyncio.create_task(collect(client, self._state.collected)),
            asyncio.create_task(self._observe(client)),
        ]
        self._background: list[asyncio.Task[int] | asyncio.Task[None]] = [producer, *tasks]
        try:
            yield producer
        finally:
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)

    async def _observe(self, client: Client) -> None:
        while True:
            with contextlib.suppress(PenstockError, TimeoutError):
                async with asyncio.timeout(1):
                    depths = {info.name: info for info in await client.queues()}
                    jobs, results = depths[JOBS_QUEUE], depths[RESULTS_QUEUE]
                    self._state.jobs = Depth(jobs.ready, jobs.leased, jobs.scheduled, jobs.dead)
                    self._state.results = Depth(results.ready, results.leased, results.scheduled, results.dead)
            await asyncio.sleep(2 * REFRESH_SECONDS)

    async def _wait_for(self, reached: Callable[[], bool], poll_seconds: float = REFRESH_SECONDS) -> None:
        while not reached():
            for task in self._background:
                if task.done() and (task.cancelled() or task.exception() is not None):
                    raise DemoError(f"a part of the demo ended early: {task.exception()!r}")
            for worker in self._state.workers:
                worker.check_alive()
            self._display.update()
            await asyncio.sleep(poll_seconds)

    def _emptied(self) -> Verdict:
        jobs, results = self._state.jobs, self._state.results
        left = f"{sum(jobs)} jobs and {sum(results)} results left"
        return Verdict("both queues and their dead letters are empty", jobs.empty and results.empty, left)

    async def _start_broker(self) -> None:
        seconds = await self._broker.start()
        pid = self._broker.process.pid if self._broker.process else 0
        self._state.broker = f"pid {pid}, {self._broker.url}"
        self._display.event(f"broker up in {seconds:.2f} s (pid {pid})")

    async def _kill_worker(self) -> Verdict:
        self._state.phase = "indexing"
        victim = self._state.workers[1]
        await self._wait_for(lambda: len(self._state.collected.records) >= KILL_WORKER_AT * self._state.files)
        while True:
            await self._wait_for(lambda: victim.mid_job, poll_seconds=0.005)
            await victim.pause()  # stopped first, so that what it said last is what it holds
            if victim.mid_job:
                break
            victim.resume()
        held = list(victim.held)
        await victim.end()
        self._display.event(f"killed {victim.name} (pid {victim.pid}) in the middle of {len(held)} started jobs")
        self._killed = (held, victim.name)
        return Verdict(
            f"{victim.name} held started, unacknowledged jobs when it was killed", bool(held), f"{len(held)} jobs"
        )

    async def _kill_broker(self) -> Verdict:
        await self._wait_for(lambda: len(self._state.collected.records) >= KILL_BROKER_AT * self._state.files)
        assert self._broker.process is not None
        await self._broker.end()
        killed_at, code = len(self._state.collected.records), self._broker.process.returncode
        self._state.broker = "killed"
        self._display.event(f"killed the broker (pid {self._broker.process.pid}) after {killed_at:,} files")
        self._display.update()
        await self._start_broker()
        return Verdict("the broker was killed and came back", code == -signal.SIGKILL, f"after {killed_at:,} files")

    async def _stop_broker(self) -> Verdict:
        for worker in self._state.workers:
            await worker.end()
        code = await self._broker.stop()
        return Verdict("the broker drained and stopped on SIGTERM", code == 0, f"exit code {code}")

    def handed_over(self) -> Verdict:
        """Return the verdict on the killed worker's jobs."""
        return handed_over(*self._killed, self._state.collected)


async def run(console: Console, library: Library) -> bool:
    """Run the demo and its check. Returns whether everything held."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    state = State(len(library.names), [Worker(f"worker-{number}") for number in range(1, WORKERS + 1)])
    with tempfile.TemporaryDirectory(prefix="penstock-demo-") as directory, Display(console, state) as display:
        left_out = f", {library.too_large} left out as too large" if library.too_large else ""
        display.event(f"{state.files:,} files under {library.root}{left_out}; data in {directory}")
        demo = Demo(Path(directory), library, state, display)
        verdicts = await demo.run()
        display.event("indexed; now the plain index for comparison")
        state.phase = "comparing"

        plain: dict[str, FileIndex] = {}
        for record in plain_index(library):
            plain[record.file] = record
            state.compared = len(plain)
            display.update()
            await asyncio.sleep(0)  # lets an interrupt through
        verdicts = [*compare(plain, state.collected), demo.handed_over(), *verdicts]
        display.event("compared")
    show_outcome(console, state, verdicts)
    return all(verdict.holds for verdict in verdicts)


def main() -> int:
    """Parse the command line and run. Returns the exit code: 0 when the check holds."""
    parser = argparse.ArgumentParser(
        description="Index the standard library through Penstock, killing things on the way."
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N files (default: all)")
    arguments = parser.parse_args()
    console = Console()
    library = find_library(standard_library_root(), arguments.limit)
    try:
        return 0 if asyncio.run(run(console, library)) else 1
    except DemoError as failure:
        console.print(f"the demo failed: {failure}", style="bold red", markup=False)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted; every process was ended")
        return 130
