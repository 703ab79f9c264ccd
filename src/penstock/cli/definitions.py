"""``penstock definitions``: export, diff, apply. What a broker has, as a file that can be reviewed and kept."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.cli import output
from penstock.cli.confirmation import require_yes
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.options import DEFAULT_URL, Json, Url, Yes
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock.cli.definition_file import Definitions
    from penstock.cli.definition_plan import Change
    from penstock_client import Client

app: Final = typer.Typer(
    help="Keep queues, groups, exchanges and schedules in a file: export, diff, apply.",
    epilog="Example: penstock definitions export > definitions.toml",
)

File = Annotated[str, typer.Argument(metavar="FILE", help="The TOML file; - for standard input.", show_default=False)]
Prune = Annotated[bool, typer.Option("--prune", help="Also delete what the file does not name.")]


@app.callback(invoke_without_command=True)
def _definitions(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.print_text(context.get_help().rstrip())
        raise typer.Exit


@app.command(epilog="Example: penstock definitions export > definitions.toml")
def export(url: Url = DEFAULT_URL) -> None:
    """Write what the broker has as TOML, to standard output. Settings with their defaults are left out."""
    from penstock.cli.definition_file import write

    output.print_text(write(run_with_client(url, read_live)).rstrip())


@app.command(epilog="Example: penstock definitions diff definitions.toml --prune")
def diff(file: File, prune: Prune = False, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show what apply would change. Ends with 1 when there is something, with 0 when there is nothing."""
    wanted = _read(file)
    changes = run_with_client(url, lambda client: _plan(client, wanted, prune))
    _show(changes, json=json)
    if changes:
        raise typer.Exit(1)


@app.command(epilog="Example: penstock definitions apply definitions.toml")
def apply(file: File, prune: Prune = False, yes: Yes = False, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Make the broker have what the file says. Nothing is changed when anything in it cannot be.

    A queue is deleted only when it is empty; settings that a living queue cannot change are a conflict.
    """
    from penstock.cli.definition_plan import CONFLICT, DELETE

    wanted = _read(file)
    changes = run_with_client(url, lambda client: _plan(client, wanted, prune))
    conflicts = [change for change in changes if change.action == CONFLICT]
    if conflicts:
        lines = "\n".join(f"  {change.what}: {change.detail}" for change in conflicts)
        raise CommandError(ExitCode.CONFIG, f"{len(conflicts)} conflicts, nothing was changed", "", lines)
    deleted = [change.what for change in changes if change.action == DELETE]
    if deleted:
        require_yes(f"delete {', '.join(deleted)}?", yes=yes)

    async def go(client: "Client") -> None:
        for change in await _plan(client, wanted, prune):
            if change.frame is None:
                raise CommandError(ExitCode.TEMPORARY, f"{change.what} changed meanwhile", "Look with diff, try again.")
            await client.call(change.frame, change.arguments, once=True)

    run_with_client(url, go)
    _show(changes, json=json)


async def _plan(client: "Client", wanted: "Definitions", prune: bool) -> "list[Change]":
    from penstock.cli.definition_plan import plan

    return plan(await read_live(client), wanted, prune=prune)


async def read_live(client: "Client") -> "Definitions":
    """Ask the broker for everything that it has."""
    from penstock.cli.definition_file import (
        GROUP_DEFAULTS,
        NAMESPACE_DEFAULTS,
        QUEUE_DEFAULTS,
        Binding,
        Definitions,
        Exchange,
        Queue,
        queue_settings,
    )
    from penstock.core.exchange_settings import ExchangeSettings

    queues = {}
    for info in [one for one in await client.queues() if not one.ephemeral]:
        settings = queue_settings(info.name, {name: info.raw[name] for name in QUEUE_DEFAULTS})
        groups = [group for group in await client.queue(info.name).groups() if group.name and not group.ephemeral]
        queues[info.name] = Queue(settings, {one.name: {key: one.raw[key] for key in GROUP_DEFAULTS} for one in groups})
    exchanges = {}
    for exchange in await client.exchanges():
        bindings = frozenset(
            Binding(one.kind, one.destination, one.routing_key, json_text.dumps(one.arguments, sort_keys=True))
            for one in await client.exchange(exchange.name).bindings()
        )
        settings = {name: exchange.raw[name] for name in ExchangeSettings().as_map()}
        exchanges[exchange.name] = Exchange(settings, bindings)
    names = ("cron", "time_zone", "queue", "missed", "block")
    schedules = {one.name: {name: one.raw[name] for name in names} for one in await client.schedules()}
    known = [] if client.namespace_name else await client.namespaces()
    namespaces = {one.name: {name: getattr(one, name) for name in NAMESPACE_DEFAULTS} for one in known}
    return Definitions(queues, exchanges, schedules, namespaces)


def _read(file: str) -> "Definitions":
    from penstock.cli.definition_file import read

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(ExitCode.NO_INPUT, f"cannot read {file}: {error}") from error
    return read(text, "standard input" if file == "-" else file)


def _show(changes: "list[Change]", *, json: bool) -> None:
    for change in changes:
        if json:
            output.print_json(change.as_map())
        else:
            detail = f": {change.detail}" if change.detail else ""
            output.print_text(f"{change.action} {output.printable(change.what + detail)}")
    if not changes and not json:
        output.print_text("nothing to change")
