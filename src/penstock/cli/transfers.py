"""``penstock queue redrive | move | copy | cancel | edit``: operators' hands on messages, one by one or by selector."""

import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli import output
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.options import DEFAULT_URL, Json, QueueName, TransferRate, Url, Where, rate_of
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock_client import Client
    from penstock_client.transferring import Transferred

Text = Annotated[str | None, typer.Option(help="Only with this in the body.", show_default=False)]
Group = Annotated[str, typer.Option(help="The group whose messages they are.")]
Limit = Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count what it would be, change nothing.")]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="The queue they go to.", show_default=False)]
Offset = Annotated[int, typer.Argument(metavar="OFFSET", min=0, help="The message's offset; see queue find.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``penstock queue``."""
    app.command(epilog="Example: penstock queue redrive jobs --where \"kind = 'mail'\" --rate 50/s --dry-run")(redrive)
    app.command(epilog="Example: penstock queue move jobs slow --text invoice")(move)
    app.command(epilog="Example: penstock queue copy jobs trial --limit 100")(copy)
    app.command(epilog="Example: penstock queue cancel jobs 1742")(cancel)
    app.command(epilog="Example: penstock queue edit jobs.dead 17 < mended.json")(edit)


def redrive(
    queue: QueueName,
    offset: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Only this dead letter: QUEUE is then the dead-letter queue.",
            show_default=False,
        ),
    ] = None,
    limit: Limit = 0,
    where: Where = None,
    text: Text = None,
    rate: TransferRate = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Send a queue's dead letters back to the groups in which they died. Their failures count from zero again, their
    attempts go on.
    """

    async def go(client: "Client") -> int:
        handle = client.queue(queue)
        if offset is not None:
            await handle.redrive_one(offset)
            return 1
        with output.make_progress("redriving", None, wanted=not json) as meter:
            return await handle.redrive(
                limit, where=where, text=text, rate=rate_of(rate), dry_run=dry_run, progress=meter.update
            )

    count = run_with_client(url, go)
    if dry_run and json:
        output.print_json({"queue": queue, "found": count, "redriven": 0})
    else:
        output.print_count({"queue": queue}, "to be redriven" if dry_run else "redriven", count, json=json)


def move(
    queue: QueueName,
    target: Target,
    group: Group = "",
    where: Where = None,
    text: Text = None,
    limit: Limit = 0,
    rate: TransferRate = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Move messages that are ready to another queue, each in one step."""
    _transfer(
        url,
        "moved",
        lambda client, options: client.queue(queue).move(target, **options),
        _options(group, where, text, limit, rate, dry_run),
        json=json,
    )


def copy(
    queue: QueueName,
    target: Target,
    group: Group = "",
    where: Where = None,
    text: Text = None,
    limit: Limit = 0,
    rate: TransferRate = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Publish messages that are ready to another queue as well."""
    _transfer(
        url,
        "copied",
        lambda client, options: client.queue(queue).copy(target, **options),
        _options(group, where, text, limit, rate, dry_run),
        json=json,
    )


def _options(
    group: str, where: str | None, text: str | None, limit: int, rate: str | None, dry_run: bool
) -> dict[str, Any]:
    conditions = {"group": group, "where": where, "text": text, "limit": limit or None}
    return {**conditions, "rate": rate_of(rate), "dry_run": dry_run}


def _transfer(
    url: str,
    done: str,
    transfer: "Callable[[Client, dict[str, Any]], Coroutine[Any, Any, Transferred]]",
    options: dict[str, Any],
    *,
    json: bool,
) -> None:
    async def go(client: "Client") -> "Transferred":
        with output.make_progress(done, None, wanted=not json) as meter:
            return await transfer(client, {**options, "progress": meter.update})

    outcome = run_with_client(url, go)
    if json:
        output.print_json(outcome._asdict())
        return
    if options["dry_run"]:
        output.print_count({}, f"to be {done}", outcome.found, json=False)
        return
    output.print_count({}, done, outcome.done, json=False)
    for offset, reason in outcome.refused:
        output.print_text(f"  not {offset}: {output.printable(reason)}")
    if outcome.refused_count > len(outcome.refused):
        output.print_text(f"  and {outcome.refused_count - len(outcome.refused)} more")


def cancel(queue: QueueName, offset: Offset, group: Group = "", url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Have a group be done with one message that nobody holds."""
    run_with_client(url, lambda client: client.queue(queue).cancel(offset, group=group))
    _print_one(queue, group, offset, "cancelled", json=json)


def edit(
    queue: QueueName,
    offset: Offset,
    group: Group = "",
    body: Annotated[
        str | None, typer.Option(help="The new body. [default: standard input]", show_default=False)
    ] = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Replace the body of one message that nobody holds, in one step. Key, headers and properties stay."""
    data = sys.stdin.buffer.read() if body is None else body.encode("utf-8", "surrogateescape")

    async def go(client: "Client") -> None:
        from penstock_client import Message

        handle = client.queue(queue)
        async for message in handle.peek(offset, 1, group=group):
            if message.offset == offset:
                edited = Message(
                    data,
                    message.key,
                    message.headers,
                    message_id=message.message_id,
                    content_type=message.content_type,
                    correlation_id=message.correlation_id,
                    reply_to=message.reply_to,
                    timestamp=message.timestamp,
                    ttl=message.ttl,
                    priority=message.priority if "priority" in message.properties else None,
                )
                await handle.replace(offset, edited, group=group)
                return
        raise CommandError(
            ExitCode.NO_INPUT, f"queue {queue!r} has no message {offset} that its group is not done with", ""
        )

    run_with_client(url, go)
    _print_one(queue, group, offset, "replaced", json=json)


def _print_one(queue: str, group: str, offset: int, done: str, *, json: bool) -> None:
    if json:
        output.print_json({"queue": queue, "group": group, done: offset})
    else:
        output.print_text(f"message {offset} {done}")
