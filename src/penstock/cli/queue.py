"""``penstock queue``: list, declare, show, peek, find, purge, delete, redrive, pause, resume; what is scheduled."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.cli import history, output, transfers
from penstock.cli.confirmation import require_yes
from penstock.cli.finding import COLUMNS, State, found_map, found_row
from penstock.cli.messages import MessageFormat, render, scheduled_line, scheduled_map
from penstock.cli.options import (
    DEFAULT_URL,
    BreakerFailures,
    BreakerWait,
    Json,
    QueueName,
    RateBurst,
    RateOption,
    Since,
    Until,
    Url,
    Where,
    Yes,
    rate_of,
)
from penstock.cli.session import describe, run_with_client

if TYPE_CHECKING:
    from penstock_client import Client, FoundMessage, QueueInfo, ScheduledMessage


class Overflow(StrEnum):
    """What a queue at its bound does with a publish."""

    BACKPRESSURE = "backpressure"
    REJECT = "reject"
    DROP_OLDEST = "drop-oldest"
    DROP_NEWEST = "drop-newest"


class Expired(StrEnum):
    """What becomes of expired messages."""

    DROP = "drop"
    DEAD_LETTER = "dead-letter"


app: Final = typer.Typer(help="Create, inspect and empty queues.", epilog="Example: penstock queue list")


@app.callback(invoke_without_command=True)
def _queue(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.print_text(context.get_help().rstrip())
        raise typer.Exit


@app.command("list", epilog="Example: penstock queue list --prefix orders. --json")
def list_queues(
    prefix: Annotated[str, typer.Option(help="Only queues whose names start so.")] = "",
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """List queues and what is in them."""
    infos = run_with_client(url, lambda client: client.queues(prefix=prefix))
    if json:
        for info in infos:
            output.print_json(describe(info))
        return
    columns = ("queue", "ready", "upcoming", "scheduled", "leased", "dead", "consumers", "size", "oldest", "state")
    output.print_table(columns, [_row(info) for info in infos])


def _row(info: "QueueInfo") -> tuple[object, ...]:
    counts = (info.ready, info.upcoming, info.scheduled, info.leased, info.dead, info.consumers)
    oldest = output.age_text(info.raw["oldest_age_ms"])
    return (info.name, *counts, output.bytes_text(info.bytes), oldest, _state(info))


def _state(info: "QueueInfo") -> str:
    breakers = [f"{output.printable(one['group'])} {output.breaker_text(one)}".strip() for one in info.raw["breakers"]]
    return ", ".join([*(["paused"] if info.paused else []), *breakers]) or "-"


@app.command(epilog="Example: penstock queue declare jobs --lease 60 --max-failures 3 --backoff 1 300")
def declare(
    queue: QueueName,
    lease: Annotated[float, typer.Option(help="Seconds a consumer may hold a message without extending.")] = 30,
    max_failures: Annotated[int, typer.Option(help="Failures after which a message is dead; 0 for no limit.")] = 5,
    backoff: Annotated[
        tuple[float, float], typer.Option(help="Seconds before a failed message returns: the first time, at most.")
    ] = (0.5, 60),
    dead_letter: Annotated[
        str | None, typer.Option(help="Where dead messages go. [default: QUEUE.dead]", show_default=False)
    ] = None,
    durable: Annotated[bool, typer.Option(help="Kept on disk, or in bounded memory until the broker stops.")] = True,
    memory_bytes_max: Annotated[int, typer.Option(help="The bound of a queue in memory.")] = 64 * 1024 * 1024,
    dedup_window: Annotated[
        float, typer.Option(help="Seconds for which a message id is not stored twice; 0 to store every message.")
    ] = 0,
    dedup_count_max: Annotated[int, typer.Option(help="The most message ids kept for that.")] = 100_000,
    rate: RateOption = None,
    rate_burst: RateBurst = None,
    max_messages: Annotated[int, typer.Option(help="The most messages it holds that someone needs; 0 for any.")] = 0,
    max_bytes: Annotated[int, typer.Option(help="The most bytes of such messages; 0 for any.")] = 0,
    max_age: Annotated[float, typer.Option(help="Seconds after which what nobody took is dropped; 0 for never.")] = 0,
    overflow: Annotated[
        Overflow, typer.Option(help="At its bound: confirms wait, publishes are rejected, oldest or newest is dropped.")
    ] = Overflow.BACKPRESSURE,
    overflow_dead_letter: Annotated[
        bool, typer.Option("--overflow-dead-letter", help="What is dropped becomes a dead letter.")
    ] = False,
    alarm_messages: Annotated[int, typer.Option(help="How many messages raise an alarm; 0 for none.")] = 0,
    alarm_age: Annotated[float, typer.Option(help="Seconds its oldest message may wait; 0 for no alarm.")] = 0,
    breaker_failures: BreakerFailures = None,
    breaker_wait: BreakerWait = None,
    expires: Annotated[
        float, typer.Option(help="Seconds after which it is deleted when nobody uses it; 0 for never.")
    ] = 0,
    ttl: Annotated[float, typer.Option(help="Seconds a message may wait for a consumer; 0 for no limit.")] = 0,
    on_expired: Annotated[
        Expired, typer.Option(help="What becomes of messages that waited too long: counted and gone, or dead letters.")
    ] = Expired.DROP,
    priority_max: Annotated[int, typer.Option(help="The highest priority; higher ones count as it.")] = 9,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Create a queue. Again with the same settings: nothing changes; with others: refused, naming the difference."""

    async def go(client: "Client") -> "tuple[bool, QueueInfo]":
        handle = client.queue(queue)
        created = await handle.declare(
            lease=lease,
            max_failures=max_failures,
            backoff=backoff,
            dead_letter=dead_letter,
            durable=durable,
            memory_bytes_max=memory_bytes_max,
            dedup_window=dedup_window,
            dedup_count_max=dedup_count_max,
            rate=rate_of(rate),
            rate_burst=rate_burst,
            max_messages=max_messages,
            max_bytes=max_bytes,
            max_age=max_age,
            overflow=overflow.value.replace("-", "_"),
            overflow_dead_letter=overflow_dead_letter,
            alarm_messages=alarm_messages,
            alarm_age=alarm_age,
            breaker_failures=breaker_failures,
            breaker_wait=breaker_wait,
            expires=expires,
            ttl=ttl,
            on_expired=on_expired.value,
            priority_max=priority_max,
        )
        return created, await handle.info()

    created, info = run_with_client(url, go)
    if json:
        output.print_json({"created": created} | describe(info))
    else:
        output.print_text(f"queue {output.printable(queue)} {'created' if created else 'exists with these settings'}")


@app.command(epilog="Example: penstock queue alter jobs --max-failures 10 --backoff 1 600")
def alter(
    queue: QueueName,
    lease: Annotated[float | None, typer.Option(help="Seconds a consumer may hold a message.")] = None,
    max_failures: Annotated[int | None, typer.Option(help="Failures after which a message is dead.")] = None,
    backoff: Annotated[
        tuple[float, float] | None, typer.Option(help="Seconds before a failed message returns: at first, at most.")
    ] = None,
    dead_letter: Annotated[str | None, typer.Option(help="Where dead messages go.")] = None,
    memory_bytes_max: Annotated[int | None, typer.Option(help="The bound of a queue in memory.")] = None,
    rate: RateOption = None,
    rate_burst: RateBurst = None,
    max_messages: Annotated[int | None, typer.Option(help="The most messages it holds; 0 for any.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="The most bytes of such messages; 0 for any.")] = None,
    max_age: Annotated[float | None, typer.Option(help="Seconds until what nobody took is dropped; 0: never.")] = None,
    overflow: Annotated[Overflow | None, typer.Option(help="What happens at its bound.")] = None,
    overflow_dead_letter: Annotated[bool | None, typer.Option(help="What is dropped becomes a dead letter.")] = None,
    alarm_messages: Annotated[int | None, typer.Option(help="How many messages raise an alarm; 0 for none.")] = None,
    alarm_age: Annotated[float | None, typer.Option(help="Seconds its oldest message may wait; 0 for any.")] = None,
    breaker_failures: BreakerFailures = None,
    breaker_wait: BreakerWait = None,
    expires: Annotated[
        float | None, typer.Option(help="Seconds after which it is deleted when nobody uses it.", show_default=False)
    ] = None,
    dedup_window: Annotated[
        float | None, typer.Option(help="Seconds for which a message id is not stored twice; 0 for none.")
    ] = None,
    dedup_count_max: Annotated[int | None, typer.Option(help="The most message ids kept for that.")] = None,
    ttl: Annotated[
        float | None, typer.Option(help="Seconds that messages published from now on may wait; 0 for no limit.")
    ] = None,
    on_expired: Annotated[Expired | None, typer.Option(help="What becomes of messages that waited too long.")] = None,
    priority_max: Annotated[int | None, typer.Option(help="The highest priority from now on.")] = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Give a living queue other settings. They hold from the next hand-out, failure and publish on."""

    async def go(client: "Client") -> dict[str, tuple[Any, Any]]:
        return await client.queue(queue).alter(
            lease=lease,
            max_failures=max_failures,
            backoff=backoff,
            dead_letter=dead_letter,
            memory_bytes_max=memory_bytes_max,
            rate=rate_of(rate),
            rate_burst=rate_burst,
            max_messages=max_messages,
            max_bytes=max_bytes,
            max_age=max_age,
            overflow=overflow and overflow.value.replace("-", "_"),
            overflow_dead_letter=overflow_dead_letter,
            alarm_messages=alarm_messages,
            alarm_age=alarm_age,
            breaker_failures=breaker_failures,
            breaker_wait=breaker_wait,
            expires=expires,
            dedup_window=dedup_window,
            dedup_count_max=dedup_count_max,
            ttl=ttl,
            on_expired=on_expired,
            priority_max=priority_max,
        )

    changed = run_with_client(url, go)
    if json:
        output.print_json({"queue": queue, "changed": changed})
        return
    output.print_changes(changed)


@app.command(epilog="Example: penstock queue show jobs --json")
def show(queue: QueueName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show a queue's settings and counts."""
    info = run_with_client(url, lambda client: client.queue(queue).info())
    if json:
        output.print_json(describe(info))
    else:
        facts = describe(info).items()
        output.print_facts((name.removesuffix("_ms").replace("_", " "), _fact(name, value)) for name, value in facts)


_NONE_AT_ZERO: Final = frozenset(
    {
        *("max_failures", "max_messages", "max_bytes", "max_age", "dedup_window"),
        *("alarm_messages", "alarm_age", "expires", "ttl"),
    }
)
"""Settings that are off, or without limit, at 0."""


def _fact(name: str, value: Any) -> object:
    if name in _NONE_AT_ZERO and not value:
        return "none"
    match name:
        case "alarms":
            return "; ".join(map(output.alarm_text, value)) or None
        case "breakers":
            return "; ".join(f"{one['group'] or '(default)'} {output.breaker_text(one)}" for one in value) or None
        case "lease" | "dedup_window" | "max_age" | "alarm_age" | "breaker_wait" | "expires" | "ttl":
            return f"{value:g} s"
        case "backoff":
            return f"{value[0]:g} s to {value[1]:g} s"
        case "rate" if value is not None:
            return f"{value:g}/s"
        case "oldest_age_ms":
            return output.age_text(value)
        case "bytes" | "memory_bytes_max" | "max_bytes" if value is not None:
            return output.bytes_text(value)
    return value


@app.command(epilog="Example: penstock queue peek jobs.dead --start 0 --count 5")
def peek(
    queue: QueueName,
    start: Annotated[int, typer.Option(min=0, help="The first offset to look at.")] = 0,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many messages at most.")] = 10,
    group: Annotated[str, typer.Option(help="What this group is not done with.")] = "",
    where: Where = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Look at messages without taking them."""

    async def go(client: "Client") -> list[Any]:
        return [message async for message in client.queue(queue).peek(start, count, group=group, where=where)]

    messages = run_with_client(url, go)
    form = MessageFormat.JSON if json or not output.standard_output_is_terminal() else MessageFormat.TEXT
    output.print_text(render(messages, form).decode("utf-8", "replace").removesuffix("\n")) if messages else None


@app.command(epilog="Example: penstock queue find jobs --state dead --text timeout --since 2h")
def find(
    queue: QueueName,
    group: Annotated[str | None, typer.Option(help="Whose state to look at.", show_default=False)] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.", show_default=False)] = None,
    where: Where = None,
    text: Annotated[str | None, typer.Option(help="Only with this in the body.", show_default=False)] = None,
    key: Annotated[str | None, typer.Option(help="Only of this key.", show_default=False)] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only dead letters that died of exactly this.", show_default=False)
    ] = None,
    since: Since = None,
    until: Until = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many messages at most.")] = 100,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Look for messages, dead ones too: who holds them until when, when they come again, why they died."""

    async def go(client: "Client") -> "list[FoundMessage]":
        found = client.queue(queue).find(
            group=group,
            state=state,
            where=where,
            text=text,
            key=key,
            reason=reason,
            since=since,
            until=until,
            limit=count,
        )
        return [message async for message in found]

    found = run_with_client(url, go)
    if json:
        for message in found:
            output.print_json(found_map(message))
        return
    now = datetime.now(UTC)
    output.print_table(COLUMNS, [found_row(message, now) for message in found])


@app.command("scheduled", epilog="Example: penstock queue scheduled jobs --count 5")
def list_scheduled(
    queue: QueueName,
    start: Annotated[int, typer.Option(min=0, help="The first schedule id to look at.")] = 0,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many messages at most.")] = 10,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Look at the messages that wait for their time."""

    async def go(client: "Client") -> "list[ScheduledMessage]":
        found: list[ScheduledMessage] = []
        async for message in client.queue(queue).scheduled(start):
            found.append(message)
            if len(found) == count:
                break
        return found

    for message in run_with_client(url, go):
        if json or not output.standard_output_is_terminal():
            output.print_json(scheduled_map(message))
        else:
            output.print_text(scheduled_line(message))


@app.command(epilog="Example: penstock queue cancel-scheduled jobs 17")
def cancel_scheduled(
    queue: QueueName,
    scheduled_id: Annotated[
        int, typer.Argument(metavar="ID", min=0, help='As "penstock queue scheduled" shows it.', show_default=False)
    ],
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Take a message back before its time has come."""
    run_with_client(url, lambda client: client.queue(queue).cancel_scheduled(scheduled_id))
    output.print_count({"queue": queue}, "cancelled", 1, json=json)


@app.command(epilog="Example: penstock queue purge jobs --yes")
def purge(
    queue: QueueName,
    scheduled: Annotated[bool, typer.Option("--scheduled", help="Also what waits for its time.")] = False,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Remove a queue's messages that nobody holds; what is scheduled stays unless asked for."""
    require_yes(f"Remove every message of {output.printable(queue)} that nobody holds?", yes=yes)
    purged = run_with_client(url, lambda client: client.queue(queue).purge(scheduled=scheduled))
    output.print_count({"queue": queue}, "purged", purged, json=json)


@app.command(epilog="Example: penstock queue delete jobs --if-empty --yes")
def delete(
    queue: QueueName,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Only when it holds no messages.")] = False,
    if_unused: Annotated[bool, typer.Option("--if-unused", help="Only when nobody consumes from it.")] = False,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Delete a queue and its messages."""
    require_yes(f"Delete {output.printable(queue)} and every message in it?", yes=yes)
    deleted = run_with_client(url, lambda client: client.queue(queue).delete(if_empty=if_empty, if_unused=if_unused))
    output.print_count({"queue": queue}, "deleted", deleted, json=json)


@app.command(epilog="Example: penstock queue pause jobs")
def pause(queue: QueueName, url: Url = DEFAULT_URL) -> None:
    """Stop a queue's hand-outs. Publishing goes on, what is leased stays leased."""
    run_with_client(url, lambda client: client.queue(queue).pause())
    output.print_text(f"queue {output.printable(queue)} paused")


@app.command(epilog="Example: penstock queue resume jobs")
def resume(queue: QueueName, url: Url = DEFAULT_URL) -> None:
    """Let a queue's hand-outs go on, and close its groups' breakers."""
    run_with_client(url, lambda client: client.queue(queue).resume())
    output.print_text(f"queue {output.printable(queue)} resumed")


@app.command(epilog="Example: penstock queue revoke jobs 1742 --failed")
def revoke(
    queue: QueueName,
    offset: Annotated[int, typer.Argument(min=0, help="The message's offset; see queue find --state leased.")],
    group: Annotated[str, typer.Option(help="The group in which it is leased.")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Count a failure, instead of none.")] = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Take a stuck message away from the consumer that holds it. It goes back to its place."""
    holder = run_with_client(url, lambda client: client.queue(queue).revoke(offset, group=group, failed=failed))
    if json:
        output.print_json({"queue": queue, "group": group, "offset": offset, "holder": holder, "failed": failed})
    else:
        output.print_text(f"message {offset} taken away from {output.printable(holder)}")


history.register(app)


transfers.register(app)
