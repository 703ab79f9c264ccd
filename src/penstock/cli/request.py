"""``penstock request``: ask whoever consumes from a queue, and print the reply."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.cli import output
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.messages import json_text, reply_line, reply_map
from penstock.cli.options import DEFAULT_URL, Json, QueueName, Url
from penstock.cli.publish import parse_headers
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock_client import Client, Message, Reply

TIMEOUT_S: Final = 2.0
TIMEOUT_S_MAX: Final = 86_400.0
"""A day: longer than anyone watches a terminal."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, how long, and how the answers are printed."""

    queue: str
    message: "Message"
    timeout_s: float
    as_json: bool

    def print(self, reply: "Reply") -> None:
        """Print one reply."""
        output.print_text(json_text(reply_map(reply)) if self.as_json else reply_line(reply))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog='Example: penstock request prices "item-7" --timeout 5')(request)


def request(
    queue: QueueName,
    body: Annotated[str, typer.Argument(metavar="BODY", help="What is asked.", show_default=False)],
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, max=TIMEOUT_S_MAX, help="How long to wait for the reply.")
    ] = TIMEOUT_S,
    every: Annotated[bool, typer.Option("--all", help="Print every reply that comes in that time.")] = False,
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header; may be repeated.", show_default=False)
    ] = None,
    content_type: Annotated[str | None, typer.Option(help="What BODY is, such as application/json.")] = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Publish a request, wait for its reply, and print that. Ends with 69 when none comes or the request failed.

    Prints one JSON object per reply when piped.
    """
    from penstock_client import Message

    encoded = body.encode("utf-8", "surrogateescape")
    message = Message(encoded, headers=parse_headers(header or []) or None, content_type=content_type)
    question = Question(queue, message, timeout, json or not output.standard_output_is_terminal())

    async def go(client: "Client") -> None:
        if every:
            await _print_all(client, question)
        else:
            question.print(await client.request(queue, message, timeout=timeout))

    run_with_client(url, go)


async def _print_all(client: "Client", question: Question) -> None:
    count = 0
    async for reply in client.requests(question.queue, question.message, timeout=question.timeout_s):
        question.print(reply)
        count += 1
    if not count:
        happened = f"queue {question.queue!r}: no reply within {question.timeout_s:g} s"
        raise CommandError(ExitCode.UNAVAILABLE, happened, "Does anyone consume from the queue?")
