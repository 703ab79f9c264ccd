"""``penstock consume``: print messages, and acknowledge what was printed.

A message is acknowledged after its line was written out and, into a pipe, after the reader has taken it from the pipe.
What was handed to this process but not printed is released: it returns to its place and counts no failure.

How much goes into a pipe at once grows with what was taken so far: one message at a time at first, so that
``| head -1`` takes one message and not five hundred; hundreds at a time later, where waiting for the reader would cost
the rate.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.cli import output
from penstock.cli.messages import MessageFormat, render
from penstock.cli.options import DEFAULT_URL, QueueName, Url, Where
from penstock.cli.pipes import PipeWriter, StopRequestedError
from penstock.cli.session import Stop, run_with_client, stop_on_signals

if TYPE_CHECKING:
    from penstock_client import Batch, Client, Group, Queue

BATCH_MESSAGES_MAX: Final = 500
"""Messages written and acknowledged at once."""

BATCH_WAIT_SECONDS: Final = 0.02
"""How long a batch that is not full waits for more."""

PREFETCH_MESSAGES: Final = 1000
"""Two batches: one is printed while the next is on its way."""

PIPE_GROWTH: Final = 100
"""Into a pipe goes at once this fraction of what was taken before: 1 of 100."""

IDLE_SECONDS: Final = 0.2
"""Without a delivery for so long, --no-follow asks whether anything is ready."""

IDLE_TIMES: Final = 2
"""So many times in a row nothing must be ready: what was handed out may still be on its way the first time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to print: how many messages at most, whether to wait for more, and how a message looks."""

    count: int | None
    follow: bool
    form: MessageFormat

    @property
    def at_once(self) -> int:
        """Messages asked for at once."""
        return BATCH_MESSAGES_MAX if self.count is None else min(self.count, BATCH_MESSAGES_MAX)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: penstock consume jobs --no-follow > jobs.jsonl")(consume)


def consume(
    queue: QueueName,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many messages.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for more, or stop when nothing is ready.")] = True,
    form: Annotated[
        MessageFormat | None,
        typer.Option("--format", help="How a message is printed. [default: text on a terminal, json otherwise]"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    group: Annotated[str, typer.Option(help="A named group to consume from.")] = "",
    priority: Annotated[int, typer.Option(help="Consumers of higher priority are served first.")] = 0,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="As the group's only consumer, or not at all.")
    ] = False,
    where: Where = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Print messages and acknowledge what was printed. Ctrl-C and a closed pipe lose nothing.

    A reader that stops early may have read ahead; --count takes exactly so many messages.
    """
    automatic = MessageFormat.TEXT if output.standard_output_is_terminal() else MessageFormat.JSON
    wanted = Wanted(count, follow, MessageFormat.JSON if json else form or automatic)

    async def go(client: "Client") -> None:
        with stop_on_signals() as stop:
            printer = Printer(PipeWriter(sys.stdout.fileno(), stop.requested), wanted)
            options = {"group": group, "priority": priority, "exclusive": exclusive, "where": where}
            await _print_messages(client.queue(queue), printer, stop, options)

    try:
        run_with_client(url, go)
    except BrokenPipeError:
        output.end_on_broken_pipe()


class Printer:
    """Prints batches, acknowledges what was printed, counts."""

    def __init__(self, writer: PipeWriter, wanted: Wanted) -> None:
        self.wanted = wanted
        self.printed = 0
        self._writer = writer

    @property
    def complete(self) -> bool:
        """True when as many messages as wanted are printed."""
        return self.wanted.count is not None and self.printed >= self.wanted.count

    async def print(self, batch: "Batch") -> None:
        """Print a batch, or as much of it as is wanted; release the rest, also when printing fails."""
        settled = 0
        try:
            while settled < len(batch) and not self.complete:
                part = batch[settled : settled + self._at_once()]
                await asyncio.to_thread(self._writer.write, render(part, self.wanted.form))
                for message in part:
                    await message.ack()
                settled += len(part)
                self.printed += len(part)
        finally:
            for message in batch[settled:]:
                await message.release()

    def _at_once(self) -> int:
        most = max(1, self.printed // PIPE_GROWTH) if self._writer.is_pipe else BATCH_MESSAGES_MAX
        return most if self.wanted.count is None else min(most, self.wanted.count - self.printed)


class _Batches:
    """The batches of a consumer until the command shall stop, or nothing is ready and it shall not wait."""

    def __init__(self, group: "Group", batches: "AsyncIterator[Batch]", stop: Stop, *, follow: bool) -> None:
        self._group = group
        self._batches = batches
        self._idle_seconds = None if follow else IDLE_SECONDS
        self._stopping = asyncio.ensure_future(stop.wait())
        self._upcoming: asyncio.Future[Batch] | None = None

    async def next(self) -> "Batch | None":
        """Return the next batch; None at the end."""
        idle = 0
        while idle < IDLE_TIMES:
            if self._upcoming is None:
                self._upcoming = asyncio.ensure_future(anext(self._batches))
            waited: set[asyncio.Future[Any]] = {self._upcoming, self._stopping}
            await asyncio.wait(waited, timeout=self._idle_seconds, return_when=asyncio.FIRST_COMPLETED)
            if self._upcoming.done():
                upcoming, self._upcoming = self._upcoming, None
                return upcoming.result()
            if self._stopping.done():
                return None
            idle = idle + 1 if await self._nothing_ready() else 0
        return None

    async def close(self) -> None:
        """Stop waiting."""
        self._stopping.cancel()
        if self._upcoming is not None:
            self._upcoming.cancel()
            await asyncio.wait({self._upcoming})

    async def _nothing_ready(self) -> bool:
        return (await self._group.info()).ready == 0


async def _print_messages(queue: "Queue", printer: Printer, stop: Stop, options: dict[str, Any]) -> None:
    wanted = printer.wanted
    prefetch = PREFETCH_MESSAGES if wanted.count is None else min(PREFETCH_MESSAGES, wanted.count)
    async with queue.consume(prefetch=prefetch, **options) as messages:
        batches = _Batches(
            queue.group(options["group"]),
            messages.batches(max=wanted.at_once, wait=BATCH_WAIT_SECONDS),
            stop,
            follow=wanted.follow,
        )
        try:
            while not printer.complete and (batch := await batches.next()) is not None:
                await printer.print(batch)
        except StopRequestedError:
            return
        except BrokenPipeError:
            if not stop.requested.is_set():
                raise  # after Ctrl-C, which reaches both ends of a pipe, its closing is no failure
        finally:
            await batches.close()
