"""``penstock queue history``: a message's life as a story. Who had it, from when to when, and what each said."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from penstock.cli import output
from penstock.cli.messages import body_text, failure_map, message_map
from penstock.cli.options import DEFAULT_URL, Json, QueueName, Url
from penstock.cli.output import duration_text, printable
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock_client import DeadLetter, Failure, History

_INDENT = "    "


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: penstock queue history jobs.dead 17")(history)


def history(
    queue: QueueName,
    offset: Annotated[int, typer.Argument(min=0, metavar="OFFSET", help="The message.", show_default=False)],
    group: Annotated[str, typer.Option(help="A named group, for which the message is told.")] = "",
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Tell what became of a message: who had it, from when to when, on which attempt, and what each said.

    A dead letter, and a message that was redriven, brings its past along.
    """
    found = run_with_client(url, lambda client: client.queue(queue).history(offset, group=group))
    if json:
        output.print_json(history_map(found))
    else:
        output.print_text("\n".join(tell(found)))


def history_map(found: "History") -> dict[str, Any]:
    """Return what JSON output shows of a message and its past."""
    fields = found._asdict() | message_map(found.message)
    del fields["message"]
    times = {
        name: value and value.isoformat(timespec="milliseconds") for name, value in fields.items() if name in _TIMES
    }
    return fields | times | {"failures": [failure_map(failure) for failure in found.failures]}


_TIMES = frozenset({"leased_at", "until"})


class Life(NamedTuple):
    """One life of a message: from being published or redriven until it died, or until now."""

    queue: str
    offset: int | None
    published_at: datetime
    attempts: int
    failures: Sequence["Failure"]


def tell(found: "History") -> Iterator[str]:
    """Yield the lines of a message's story, the oldest life first."""
    message = found.message
    past = message.dead or message.redriven
    for dead in _lives(past):
        yield from _tell_life(Life(dead.queue, dead.offset, dead.published_at, dead.attempts, dead.failures))
        yield f"It died of: {_first_line(dead.reason) or 'no reason was given'}"
        yield ""
    yield from _tell_life(Life(message.queue, message.offset, message.published_at, found.attempts, found.failures))
    yield from _tell_now(found)
    yield ""
    yield f"Its body, {len(message.body):,} bytes: {body_text(message.body)}"


def _lives(past: "DeadLetter | None") -> list["DeadLetter"]:
    lives: list[DeadLetter] = []
    while past is not None:
        lives.insert(0, past)
        past = past.earlier
    return lives


def _tell_life(life: Life) -> Iterator[str]:
    which = "A message" if life.offset is None else f"Message {life.offset}"
    yield f"{which} of {printable(life.queue)}, published {_moment(life.published_at)}."
    attempt, since = 0, life.published_at
    for failure in life.failures:
        yield from _tell_unfailed(attempt + 1, failure.attempt)
        yield from _tell_failure(failure, since)
        attempt, since = failure.attempt, failure.time
    yield from _tell_unfailed(attempt + 1, life.attempts + 1)


def _tell_unfailed(first: int, end: int) -> Iterator[str]:
    """Attempts of which no failure is kept."""
    if first < end:
        which = f"Attempt {first}" if first == end - 1 else f"Attempts {first} to {end - 1}"
        yield ""
        yield f"{which}: no failure is kept; given back, under way, or more than are kept."


def _tell_failure(failure: "Failure", since: datetime) -> Iterator[str]:
    waited_ms = _between_ms(since, failure.leased_at)
    held_ms = _between_ms(failure.leased_at, failure.time)
    yield ""
    span = f"from {_moment(failure.leased_at)} to {_moment(failure.time, failure.leased_at)}"
    yield f"Attempt {failure.attempt}, after {duration_text(waited_ms)}: {printable(failure.consumer)} had it {span},"
    yield f"{duration_text(held_ms)}. It failed:"
    for line in failure.reason.splitlines() or ["(no reason was given)"]:
        yield f"{_INDENT}{printable(line)}".rstrip()


def _tell_now(found: "History") -> Iterator[str]:
    yield ""
    match found.state:
        case "leased" if found.leased_at is not None and found.until is not None:
            yield (
                f"Now {printable(found.consumer)} has it, attempt {found.attempts}, from {_moment(found.leased_at)};"
                f" its lease ends {_moment(found.until, found.leased_at)} unless it is extended."
            )
        case "scheduled" if found.until is not None:
            yield f"Now it waits until {_moment(found.until)} for attempt {found.attempts + 1}."
        case "dying":
            yield "Now it is on its way to the dead letters."
        case "held":
            yield "It is dead and held in its place: what is behind it waits until it is redriven or skipped."
        case _:
            yield f"Now it is ready for attempt {found.attempts + 1}."


def _first_line(text: str) -> str:
    return printable(text.partition("\n")[0])


def _between_ms(start: datetime, end: datetime) -> int:
    return max(0, round((end - start).total_seconds() * 1000))


def _moment(time: datetime, near: datetime | None = None) -> str:
    """Return a time to the millisecond, without its date when that is the one just told."""
    clock = time.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    return clock[11:] if near is not None and near.date() == time.date() else f"{clock} UTC"
