"""``penstock connection``: list, close."""

from typing import Annotated, Final

import typer

from penstock.cli import output
from penstock.cli.confirmation import require_yes
from penstock.cli.options import DEFAULT_URL, Json, Url, Yes
from penstock.cli.session import run_with_client

app: Final = typer.Typer(help="Who is connected to the broker.", epilog="Example: penstock connection list")


@app.callback(invoke_without_command=True)
def _connection(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.print_text(context.get_help().rstrip())
        raise typer.Exit


@app.command("list", epilog="Example: penstock connection list --json")
def list_connections(url: Url = DEFAULT_URL, json: Json = False) -> None:
    """List connections, and what each holds. This command's own is among them."""
    infos = run_with_client(url, lambda client: client.connections())
    if json:
        for info in infos:
            output.print_json(info._asdict())
        return
    columns = ("session", "name", "namespace", "connected for", "consumers", "leased", "routes", "producer")
    rows = [(i.session, i.name, i.namespace, _age(i.age), i.consumers, i.leased, i.routes, i.producer) for i in infos]
    output.print_table(columns, rows)


def _age(age_s: float) -> str:
    return output.duration_text(int(age_s * 1000))


@app.command(epilog="Example: penstock connection close 17 --yes")
def close(
    session: Annotated[int, typer.Argument(help="The connection's number; see connection list.")],
    yes: Yes = False,
    url: Url = DEFAULT_URL,
) -> None:
    """End a connection. Its leases go back; what it had started counts as failed. Its client may connect again."""
    require_yes(f"Close connection {session}?", yes=yes)
    run_with_client(url, lambda client: client.close_connection(session))
    output.print_text(f"connection {session} closed")
