"""``penstock publish``: messages from arguments, or one for each line of a file or of standard input."""

import asyncio
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.cli import output
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.options import DEFAULT_URL, Json, Url
from penstock.cli.pipes import LineReader, LineTooLongError
from penstock.cli.session import run_with_client, stop_on_signals

if TYPE_CHECKING:
    from penstock_client import Client, Confirm, Message
    from penstock_client.message import Publishable
    from penstock_client.publisher import BasePublisher

    Send = Callable[[Publishable], Awaitable[None]]

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""The longest body any broker can be set to take."""


class Durability(StrEnum):
    """What a confirm promises."""

    SYNCED = "synced"
    WRITTEN = "written"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every message of one command carries beside its body."""

    key: str | None
    headers: dict[str, str]
    message_id: str | None
    content_type: str | None
    delay_s: float | None = None
    at: datetime | None = None
    ttl_s: float | None = None
    priority: int | None = None

    @property
    def is_empty(self) -> bool:
        """True when messages are their bodies and nothing more."""
        plain = not (self.key or self.headers or self.message_id or self.content_type)
        return plain and all(one is None for one in (self.delay_s, self.at, self.ttl_s, self.priority))

    def message(self, body: bytes) -> "Message":
        """Return the message to publish."""
        from penstock_client import Message

        return Message(
            body,
            key=self.key,
            headers=self.headers or None,
            message_id=self.message_id,
            content_type=self.content_type,
            delay=self.delay_s,
            at=self.at,
            ttl=self.ttl_s,
            priority=self.priority,
        )


@dataclass(frozen=True, slots=True)
class Way:
    """Where to: a queue, or an exchange with a routing key."""

    queue: str | None
    exchange: str | None
    routing_key: str
    mandatory: bool

    def names(self) -> dict[str, str | None]:
        """What to call it in JSON."""
        if self.exchange is None:
            return {"queue": self.queue}
        return {"exchange": self.exchange, "routing_key": self.routing_key}

    async def publish_many(self, client: "Client", messages: "list[Message]", durability: str) -> "list[Confirm]":
        """Publish messages together."""
        if self.exchange is None:
            return await client.queue(str(self.queue)).publish_many(messages, durability=durability)
        exchange = client.exchange(self.exchange)
        how = {"durability": durability, "mandatory": self.mandatory}
        return await exchange.publish_many(self.routing_key, messages, **how)  # type: ignore[arg-type]

    def publisher(self, client: "Client", durability: str) -> "tuple[BasePublisher, Send]":
        """Return a publisher and how to send with it."""
        if self.exchange is None:
            to_queue = client.queue(str(self.queue)).publisher(durability=durability)
            return to_queue, to_queue.send
        through = client.exchange(self.exchange).publisher(durability=durability, mandatory=self.mandatory)
        return through, partial(through.send, self.routing_key)


@dataclass(frozen=True, slots=True)
class Publication:
    """Where to, with what, and confirmed how."""

    way: Way
    envelope: Envelope
    durability: Durability


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog='Example: penstock publish jobs "hello" --header kind=greeting')(publish)


def publish(
    queue: Annotated[
        str | None, typer.Argument(metavar="[QUEUE]", help="The queue's name; not with --exchange.", show_default=False)
    ] = None,
    bodies: Annotated[
        list[str] | None, typer.Argument(metavar="BODY", help="One message each.", show_default=False)
    ] = None,
    exchange: Annotated[str | None, typer.Option(metavar="NAME", help="Publish through this exchange.")] = None,
    routing_key: Annotated[
        str | None, typer.Option("--routing-key", "-k", metavar="KEY", help="Where the exchange shall lead it.")
    ] = None,
    mandatory: Annotated[
        bool, typer.Option(help="Fail, or drop and count it, when no queue takes a message of the exchange.")
    ] = True,
    lines: Annotated[
        str | None, typer.Option(metavar="FILE", help="Publish each line of FILE; - is standard input.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header; may be repeated.", show_default=False)
    ] = None,
    key: Annotated[str | None, typer.Option(help="The messages' key.")] = None,
    message_id: Annotated[str | None, typer.Option(help="The message's id; for a single BODY.")] = None,
    content_type: Annotated[str | None, typer.Option(help="What the bodies are, such as application/json.")] = None,
    delay: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Deliver so many seconds from now on.", show_default=False),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Deliver from this time on, such as 2026-12-24T18:00+01:00; local time without an offset.",
            show_default=False,
        ),
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="SECONDS", help="Expire when nobody was handed it by then.", show_default=False
        ),
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(min=0, max=255, help="Handed out before every lower one. [default: 4]", show_default=False),
    ] = None,
    durability: Annotated[
        Durability, typer.Option(help="Confirmed when on disk, or when handed to the operating system.")
    ] = Durability.SYNCED,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Publish messages and wait until the broker has confirmed them.

    Prints one JSON object per message when piped; with --lines one for the whole file.
    """
    if exchange is not None and queue is not None:  # the first argument is a BODY then
        bodies = [queue, *(bodies or [])]
        queue = None
    way = _way(queue, exchange, routing_key, mandatory=mandatory)
    if (lines is None) == (not bodies):
        raise CommandError(ExitCode.USAGE, "give either one BODY or more, or --lines FILE")
    if message_id is not None and (lines is not None or len(bodies or ()) > 1):
        raise CommandError(ExitCode.USAGE, "--message-id names one message", "Give a single BODY with it.")
    if delay is not None and at is not None:
        raise CommandError(ExitCode.USAGE, "--delay and --at exclude each other", "Give one of them.")
    if delay is not None and not isfinite(delay):
        raise CommandError(ExitCode.USAGE, "--delay has no end", "Give seconds.")
    envelope = Envelope(key, parse_headers(header or []), message_id, content_type, delay, _time(at), ttl, priority)
    as_json = json or not output.standard_output_is_terminal()
    publication = Publication(way, envelope, durability)
    if lines is None:
        encoded = [body.encode("utf-8", "surrogateescape") for body in bodies or ()]
        _publish_bodies(url, publication, encoded, as_json=as_json)
    else:
        _publish_lines(url, publication, lines, as_json=as_json)


def _way(queue: str | None, exchange: str | None, routing_key: str | None, *, mandatory: bool) -> Way:
    if queue is None and exchange is None:
        raise CommandError(ExitCode.USAGE, "name a QUEUE, or --exchange NAME")
    if exchange is None and (routing_key is not None or not mandatory):
        raise CommandError(ExitCode.USAGE, "--routing-key and --no-mandatory go with --exchange")
    return Way(queue, exchange, routing_key or "", mandatory)


def parse_headers(given: list[str]) -> dict[str, str]:
    """Return the headers of ``--header NAME=VALUE`` options."""
    headers = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise CommandError(ExitCode.USAGE, f"--header {item!r} is not NAME=VALUE")
        headers[name] = value
    return headers


def _time(given: str | None) -> datetime | None:
    try:
        found = None if given is None else datetime.fromisoformat(given)
        if found is not None:
            found.timestamp()  # the first and the last years have none
    except (ValueError, OverflowError):
        advice = "Write it as 2026-12-24T18:00, with an offset such as Z or +01:00 where it is not local time."
        raise CommandError(ExitCode.USAGE, f"--at {given!r} is no time", advice) from None
    return found


def _publish_bodies(url: str, publication: Publication, bodies: list[bytes], *, as_json: bool) -> None:
    async def go(client: "Client") -> "list[Confirm]":
        messages = [publication.envelope.message(body) for body in bodies]
        return await publication.way.publish_many(client, messages, publication.durability.value)

    confirms = run_with_client(url, go)
    if as_json:
        for confirm in confirms:
            output.print_json(confirm._asdict())
    else:
        output.print_text(_confirms_text(confirms))


def _confirms_text(confirms: "list[Confirm]") -> str:
    scheduled = confirms[0].scheduled_id is not None
    places = [confirm.scheduled_id if scheduled else confirm.offset for confirm in confirms]
    what = "scheduled with id" if scheduled else "offset"
    where = f", {what} {places[0]}" if len(places) == 1 else f", {what}s {places[0]} to {places[-1]}"
    if None in (places[0], places[-1]):  # through an exchange into no queue, or several
        where = ""
    duplicates = sum(confirm.duplicate for confirm in confirms)
    return f"{_messages(len(confirms))} confirmed ({confirms[-1].level}){where}{_duplicates_text(duplicates)}"


def _duplicates_text(count: int) -> str:
    if not count:
        return ""
    return ", a duplicate" if count == 1 else f", {count:,} duplicates"


@dataclass(slots=True)
class Tally:
    """How far publishing lines came."""

    sent: int = 0
    confirmed: int = 0
    duplicates: int = 0
    interrupted: bool = False
    started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return max(time.monotonic() - self.started, 1e-9)

    def text(self) -> str:
        """Return the count and the rate so far."""
        rate = f"{self.confirmed / self.seconds():,.0f}/s"
        return f"{_messages(self.confirmed)} confirmed, {rate}{_duplicates_text(self.duplicates)}"


def _publish_lines(url: str, publication: Publication, source: str, *, as_json: bool) -> None:
    tally = Tally()

    async def go(client: "Client") -> None:
        with _opened(source) as descriptor, stop_on_signals() as stop:
            reader = LineReader(descriptor, stop.requested, LINE_BYTES_MAX)
            size_bytes = _regular_size(descriptor)
            with output.make_progress(f"publish {source}", size_bytes, wanted=size_bytes is not None) as meter:
                await _send_lines(client, publication, reader, tally, meter)
            tally.interrupted = stop.requested.is_set()

    try:
        run_with_client(url, go)
    except LineTooLongError as error:
        raise CommandError(ExitCode.DATA, f"{source}: {error}", _resume_advice(tally)) from error
    except CommandError as error:
        if not tally.sent:
            raise
        count = f"{tally.confirmed:,} of {tally.sent:,} lines confirmed"
        raise CommandError(error.exit_code, f"{count}; {error.happened}", error.advice) from error
    _report(tally, publication, as_json=as_json)
    if tally.interrupted:
        raise CommandError(ExitCode.INTERRUPTED, "interrupted", _resume_advice(tally))


async def _send_lines(
    client: "Client", publication: Publication, reader: LineReader, tally: Tally, meter: output.Meter
) -> None:
    """Publish every line, and stop at the first that is refused."""
    envelope = publication.envelope
    plain = envelope.is_empty
    publisher, send = publication.way.publisher(client, publication.durability.value)
    try:
        async with publisher:
            while not publisher.errors and (lines := await asyncio.to_thread(reader.read)):
                for line in lines:
                    tally.sent += 1
                    await send(line if plain else envelope.message(line))
                tally.confirmed = publisher.confirmed_count
                meter.update(reader.bytes_read, tally.text())
    finally:
        tally.confirmed = publisher.confirmed_count
        tally.duplicates = publisher.duplicate_count


@contextmanager
def _opened(source: str) -> Iterator[int]:
    """Open a file for reading; ``-`` is standard input."""
    if source == "-":
        yield 0
        return
    try:
        descriptor = os.open(source, os.O_RDONLY)
    except OSError as error:
        raise CommandError(ExitCode.NO_INPUT, f"cannot read {source}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _regular_size(descriptor: int) -> int | None:
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _report(tally: Tally, publication: Publication, *, as_json: bool) -> None:
    if as_json:
        seconds = round(tally.seconds(), 3)
        counts = {"confirmed": tally.confirmed, "duplicates": tally.duplicates}
        output.print_json({**publication.way.names(), **counts, "seconds": seconds})
    else:
        output.print_text(tally.text())


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"


def _resume_advice(tally: Tally) -> str:
    return f"The first {tally.confirmed:,} lines are confirmed; tail -n +{tally.confirmed + 1} has the others."
