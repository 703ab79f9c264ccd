"""``penstock consumer``: list, close."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.cli import output
from penstock.cli.confirmation import require_yes
from penstock.cli.options import DEFAULT_URL, Json, Url, Yes
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock_client import Client, ConsumerInfo

app: Final = typer.Typer(help="Who consumes, and what each holds.", epilog="Example: penstock consumer list jobs")


@app.callback(invoke_without_command=True)
def _consumer(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.print_text(context.get_help().rstrip())
        raise typer.Exit


@app.command("list", epilog="Example: penstock consumer list jobs --group billing")
def list_consumers(
    queue: Annotated[str | None, typer.Argument(metavar="[QUEUE]", help="Of this queue alone.")] = None,
    group: Annotated[str | None, typer.Option(help="Of this group of the queue alone.")] = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """List consumers with what they hold and when the first of their leases ends."""

    async def go(client: "Client") -> "list[ConsumerInfo]":
        return await (client.consumers() if queue is None else client.queue(queue).consumers(group))

    infos = run_with_client(url, go)
    if json:
        for info in infos:
            output.print_json(info._asdict())
        return
    columns = ("session", "consumer", "name", "queue", "group", "leased", "of", "lease ends in", "state")
    rows = [
        (i.session, i.consumer, i.name, i.queue, i.group or "(default)", i.leased, i.prefetch, _ends(i), _state(i))
        for i in infos
    ]
    output.print_table(columns, rows)


@app.command(epilog="Example: penstock consumer close 17 1 --yes")
def close(
    session: Annotated[int, typer.Argument(help="The connection's number; see consumer list.")],
    consumer: Annotated[int, typer.Argument(help="The consumer's number in that connection.")],
    yes: Yes = False,
    url: Url = DEFAULT_URL,
) -> None:
    """End a consumer: what it holds goes back, no failure counted, and its program is told."""
    require_yes(f"Close consumer {consumer} of connection {session}?", yes=yes)
    released = run_with_client(url, lambda client: client.close_consumer(session, consumer))
    output.print_text(f"consumer closed, {'1 message' if released == 1 else f'{released:,} messages'} given back")


def _ends(info: "ConsumerInfo") -> str:
    return "-" if info.lease_ends_in is None else output.duration_text(int(info.lease_ends_in * 1000))


def _state(info: "ConsumerInfo") -> str:
    words = (("exclusive", info.exclusive), (f"priority {info.priority}", bool(info.priority)))
    return ", ".join(["active" if info.active else "stands by", *(word for word, is_so in words if is_so)])
