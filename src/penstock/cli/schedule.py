"""``penstock schedule``: recurring messages. Add, list, show, pause, resume, remove."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.cli import output
from penstock.cli.messages import body_map, body_text
from penstock.cli.options import DEFAULT_URL, Json, QueueName, Url
from penstock.cli.publish import parse_headers
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock_client import Client, ScheduleInfo

app: Final = typer.Typer(
    help="Publish messages again and again, at times a cron line names.",
    epilog='Example: penstock schedule add nightly "30 2 * * *" jobs "clean up" --time-zone Europe/Berlin',
)
ScheduleName = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.", show_default=False)]


class Missed(StrEnum):
    """What becomes of firings whose time passed while the broker was down."""

    ONCE = "once"
    SKIP = "skip"
    ALL = "all"


@app.callback(invoke_without_command=True)
def _schedule(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.print_text(context.get_help().rstrip())
        raise typer.Exit


@app.command(epilog='Example: penstock schedule add tick "*/5 * * * *" jobs "check the feeds"')
def add(
    name: ScheduleName,
    cron: Annotated[
        str, typer.Argument(help="Minute, hour, day of month, month, day of week; six fields: seconds first.")
    ],
    queue: QueueName,
    body: Annotated[str, typer.Argument(help="What each message says.")],
    time_zone: Annotated[str, typer.Option(help="Where the line's hours are, such as Europe/Berlin.")] = "UTC",
    missed: Annotated[
        Missed, typer.Option(help="For firings while the broker was down: one message, none, or all of them.")
    ] = Missed.ONCE,
    key: Annotated[str | None, typer.Option(help="The messages' key.")] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header; may be repeated.", show_default=False)
    ] = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Have a message published whenever a cron line fires. Again just so: nothing changes."""
    headers = parse_headers(header or [])

    async def go(client: "Client") -> "tuple[bool, ScheduleInfo]":
        from penstock_client import Message

        handle = client.schedule(name)
        message = Message(body.encode("utf-8", "surrogateescape"), key=key, headers=headers or None)
        created = await handle.add(cron, queue, message, time_zone=time_zone, missed=missed.value)
        return created, await handle.info()

    created, info = run_with_client(url, go)
    if json:
        output.print_json({"created": created} | schedule_map(info))
    else:
        done = "added" if created else "exists, just so"
        output.print_text(f"schedule {output.printable(name)} {done}; it fires next at {_time(info.next_at)}")


@app.command("list", epilog="Example: penstock schedule list --json")
def list_schedules(
    prefix: Annotated[str, typer.Option(help="Only schedules whose names start so.")] = "",
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """List recurring schedules and when they fire next."""
    infos = run_with_client(url, lambda client: client.schedules(prefix))
    if json:
        for info in infos:
            output.print_json(schedule_map(info))
        return
    rows = [
        (i.name, i.cron, i.time_zone, i.queue, "paused" if i.paused else _time(i.next_at), i.fired, i.lost)
        for i in infos
    ]
    output.print_table(("schedule", "cron", "time zone", "queue", "next", "fired", "lost"), rows)


@app.command(epilog="Example: penstock schedule show nightly")
def show(name: ScheduleName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show a schedule and what it has done."""
    info = run_with_client(url, lambda client: client.schedule(name).info())
    if json:
        output.print_json(schedule_map(info))
        return
    shown = info._asdict() | {"body": body_text(info.body)}
    del shown["raw"]
    shown |= {field: _time(shown[field]) for field in ("next_at", "last_at", "created_at")}
    output.print_facts((field.replace("_", " "), value) for field, value in shown.items())


@app.command(epilog="Example: penstock schedule pause nightly")
def pause(name: ScheduleName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Have a schedule not fire until it is resumed."""
    run_with_client(url, lambda client: client.schedule(name).pause())
    _done(name, "paused", json=json)


@app.command(epilog="Example: penstock schedule resume nightly")
def resume(name: ScheduleName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Have a paused schedule fire again, from its next time on."""
    run_with_client(url, lambda client: client.schedule(name).resume())
    _done(name, "resumed", json=json)


@app.command(epilog="Example: penstock schedule remove nightly")
def remove(name: ScheduleName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Remove a schedule. What it has published stays."""
    run_with_client(url, lambda client: client.schedule(name).remove())
    _done(name, "removed", json=json)


def schedule_map(info: "ScheduleInfo") -> dict[str, Any]:
    """Return what JSON output shows of a schedule."""
    shown = info._asdict()
    del shown["raw"]
    body = shown.pop("body")
    times = {field: shown[field] and shown[field].isoformat() for field in ("next_at", "last_at", "created_at")}
    return shown | times | body_map(body)


def _time(time: Any) -> str:
    return "-" if time is None else str(time.astimezone().isoformat(sep=" ", timespec="seconds"))


def _done(name: str, done: str, *, json: bool) -> None:
    if json:
        output.print_json({"schedule": name, "done": done})
    else:
        output.print_text(f"schedule {output.printable(name)} {done}")
