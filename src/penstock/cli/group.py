"""``penstock group``: list, declare, alter, show, state, pause, resume, purge, redrive, delete."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.cli import output
from penstock.cli.confirmation import require_yes
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.messages import plain_value
from penstock.cli.options import (
    DEFAULT_URL,
    BreakerFailures,
    BreakerWait,
    GroupName,
    Json,
    QueueName,
    RateBurst,
    RateOption,
    Url,
    Where,
    Yes,
    rate_of,
)
from penstock.cli.session import describe, run_with_client

if TYPE_CHECKING:
    from penstock_client import Client, GroupInfo

app: Final = typer.Typer(
    help="Named groups of a queue: each reads all of it, at its own pace, with a state of its own.",
    epilog="Example: penstock group declare events billing --start latest",
)


class Mode(StrEnum):
    """How a group hands out."""

    SHARED = "shared"
    KEYED = "keyed"
    SINGLE = "single"


class OnDead(StrEnum):
    """What becomes of the messages behind a dead one."""

    SKIP = "skip"
    HOLD = "hold"


@app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.print_text(context.get_help().rstrip())
        raise typer.Exit


@app.command("list", epilog="Example: penstock group list events")
def list_groups(queue: QueueName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """List a queue's groups and what each has before it."""
    infos = run_with_client(url, lambda client: client.queue(queue).groups())
    if json:
        for info in infos:
            output.print_json(describe(info))
        return
    columns = (
        "group",
        "mode",
        "ready",
        "scheduled",
        "leased",
        "oldest",
        "consumers",
        "acked",
        "dead-lettered",
        "state",
    )
    output.print_table(columns, [_row(info) for info in infos])


def _row(info: "GroupInfo") -> tuple[object, ...]:
    waiting = (info.ready, info.scheduled, info.leased, output.age_text(info.raw["oldest_age_ms"]))
    return (_shown(info.name), info.mode, *waiting, info.consumers, info.acked, info.dead_lettered, _state(info))


@app.command(epilog="Example: penstock group declare events billing --mode single --start 2026-11-01T00:00:00")
def declare(
    queue: QueueName,
    group: GroupName,
    mode: Annotated[
        Mode, typer.Option(help="Competing consumers; the same, one message of a key at a time; one active consumer.")
    ] = Mode.SHARED,
    on_dead: Annotated[
        OnDead, typer.Option(help="When a message dies: those behind it go on, or wait for its redrive.")
    ] = OnDead.SKIP,
    start: Annotated[
        str, typer.Option(help="Where a new one begins: earliest, latest, an offset, or a time (ISO 8601).")
    ] = "earliest",
    rate: RateOption = None,
    rate_burst: RateBurst = None,
    breaker_failures: BreakerFailures = None,
    breaker_wait: BreakerWait = None,
    where: Where = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Create a group. Again with the same settings: nothing changes; with others: refused, naming the difference."""
    begin, per_s = _start(start), rate_of(rate)

    async def go(client: "Client") -> "tuple[bool, GroupInfo]":
        handle = client.queue(queue).group(
            group,
            mode=mode.value,
            start=begin,
            on_dead=on_dead.value,
            rate=per_s,
            rate_burst=rate_burst,
            where=where,
            breaker_failures=breaker_failures,
            breaker_wait=breaker_wait,
        )
        return await handle.declare(), await handle.info()

    created, info = run_with_client(url, go)
    if json:
        output.print_json({"created": created} | describe(info))
    else:
        state = f"created, begins at offset {info.next_offset}" if created else "exists with these settings"
        output.print_text(f"group {_shown(group)} {state}")


@app.command(epilog="Example: penstock group alter events billing --where \"region = 'eu'\"")
def alter(
    queue: QueueName,
    group: GroupName,
    on_dead: Annotated[
        OnDead | None, typer.Option(help="When a message dies: those behind it go on, or wait for its redrive.")
    ] = None,
    rate: RateOption = None,
    rate_burst: RateBurst = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Another selector, for what nobody was handed yet; '' for none.",
            metavar="SELECTOR",
            show_default=False,
        ),
    ] = None,
    breaker_failures: BreakerFailures = None,
    breaker_wait: BreakerWait = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Give a living group other settings. Its messages and its place stay."""
    settings: dict[str, Any] = {
        "on_dead": on_dead and on_dead.value,
        "rate": rate_of(rate),
        "rate_burst": rate_burst,
        "where": where,
        "breaker_failures": breaker_failures,
        "breaker_wait": breaker_wait,
    }
    changed = run_with_client(url, lambda client: client.queue(queue).group(group).alter(**settings))
    if json:
        output.print_json({"queue": queue, "group": group, "changed": changed})
    else:
        output.print_changes(changed)


@app.command(epilog="Example: penstock group show events billing --json")
def show(queue: QueueName, group: GroupName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show a group's settings and counts."""
    info = run_with_client(url, lambda client: client.queue(queue).group(group).info())
    if json:
        output.print_json(describe(info))
    else:
        facts = describe(info).items()
        output.print_facts((name.removesuffix("_ms").replace("_", " "), _fact(name, value)) for name, value in facts)


def _fact(name: str, value: Any) -> object:
    match name:
        case "oldest_age_ms":
            return output.age_text(value)
        case "breaker" if value is not None:
            return output.breaker_text(value).removeprefix("breaker ")
        case "breaker_wait":
            return f"{value:g} s"
    return value


@app.command(epilog="Example: penstock group state events billing --json")
def state(queue: QueueName, group: GroupName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show what a group's consumers keep in its state. Bytes are in base64."""
    found = run_with_client(url, lambda client: client.queue(queue).group(group).state())
    if json:
        output.print_json(plain_value(found))
    else:
        output.print_facts((output.printable(key), plain_value(value)) for key, value in found.items())


@app.command(epilog="Example: penstock group pause events billing")
def pause(queue: QueueName, group: GroupName, url: Url = DEFAULT_URL) -> None:
    """Stop a group's hand-outs. What is leased stays leased; other groups go on."""
    run_with_client(url, lambda client: client.queue(queue).group(group).pause())
    output.print_text(f"group {_shown(group)} paused")


@app.command(epilog="Example: penstock group resume events billing")
def resume(queue: QueueName, group: GroupName, url: Url = DEFAULT_URL) -> None:
    """Let a group's hand-outs go on, and close its breaker."""
    run_with_client(url, lambda client: client.queue(queue).group(group).resume())
    output.print_text(f"group {_shown(group)} resumed")


@app.command(epilog="Example: penstock group purge events billing --yes")
def purge(queue: QueueName, group: GroupName, yes: Yes = False, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Have a group be done with every message that nobody holds. Other groups keep theirs."""
    require_yes(f"Skip every ready and scheduled message of group {_shown(group)}?", yes=yes)
    purged = run_with_client(url, lambda client: client.queue(queue).group(group).purge())
    output.print_count({"queue": queue, "group": group}, "purged", purged, json=json)


@app.command(epilog="Example: penstock group redrive events billing --limit 100")
def redrive(
    queue: QueueName,
    group: GroupName,
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")] = 0,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Send the dead letters of one group back to it alone."""
    redriven = run_with_client(url, lambda client: client.queue(queue).group(group).redrive(limit=limit))
    output.print_count({"queue": queue, "group": group}, "redriven", redriven, json=json)


@app.command(epilog="Example: penstock group delete events billing --if-unused --yes")
def delete(
    queue: QueueName,
    group: GroupName,
    if_unused: Annotated[bool, typer.Option("--if-unused", help="Only when nobody consumes from it.")] = False,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Delete a group and its place in the queue. Messages that no other group needs go with it."""
    require_yes(f"Delete group {_shown(group)} of {output.printable(queue)}?", yes=yes)
    deleted = run_with_client(url, lambda client: client.queue(queue).group(group).delete(if_unused=if_unused))
    output.print_count({"queue": queue, "group": group}, "deleted", deleted, json=json)


def _start(text: str) -> str | int | datetime:
    if text in ("earliest", "latest"):
        return text
    if text.isdecimal():
        return int(text)
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise CommandError(
            ExitCode.USAGE,
            f"--start {text!r} is neither earliest, latest, an offset nor a time",
            "A time looks like 2026-11-01T08:30:00+01:00.",
        ) from None


def _shown(name: str) -> str:
    return output.printable(name) or "(default)"


def _state(info: "GroupInfo") -> str:
    words = [word for word, is_so in (("paused", info.paused), ("ephemeral", info.ephemeral)) if is_so]
    if info.breaker is not None and info.breaker.state != "closed":
        words.append(output.breaker_text(info.raw["breaker"]))
    return ", ".join(words) or "-"
