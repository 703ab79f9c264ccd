"""``penstock namespace``: declare, list, describe, alter, delete."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.cli import output
from penstock.cli.confirmation import require_yes
from penstock.cli.options import DEFAULT_URL, Json, Url, Yes
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock_client import Client, NamespaceInfo

app: Final = typer.Typer(
    help="Give users names of their own, with limits. Use one with --url penstock://HOST:PORT/NAMESPACE.",
    epilog="Example: penstock namespace declare billing --max-queues 100 --max-bytes 10000000000",
)
NamespaceName = Annotated[str, typer.Argument(metavar="NAMESPACE", help="The namespace's name.", show_default=False)]
MaxQueues = Annotated[int | None, typer.Option(help="The most queues; 0 for any number.", show_default=False)]
MaxConnections = Annotated[int | None, typer.Option(help="The most connections; 0 for any number.", show_default=False)]
MaxBytes = Annotated[
    int | None, typer.Option(help="The most bytes stored for its queues; 0 for any number.", show_default=False)
]


@app.callback(invoke_without_command=True)
def _namespace(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.print_text(context.get_help().rstrip())
        raise typer.Exit


@app.command(epilog="Example: penstock namespace declare billing --max-connections 50")
def declare(
    namespace: NamespaceName,
    max_queues: MaxQueues = None,
    max_connections: MaxConnections = None,
    max_bytes: MaxBytes = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Create a namespace. Again with the same limits: nothing changes; with others: refused, naming the difference."""

    async def go(client: "Client") -> "tuple[bool, NamespaceInfo]":
        handle = client.namespace(namespace)
        created = await handle.declare(max_queues=max_queues, max_connections=max_connections, max_bytes=max_bytes)
        return created, await handle.info()

    created, info = run_with_client(url, go)
    if json:
        output.print_json({"created": created} | _as_map(info))
    else:
        state = "created" if created else "exists with these limits"
        output.print_text(f"namespace {output.printable(namespace)} {state}")


@app.command("list", epilog="Example: penstock namespace list --json")
def list_namespaces(
    prefix: Annotated[str, typer.Option(help="Only namespaces whose names start so.")] = "",
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """List namespaces: what is in them, of how much."""
    infos = run_with_client(url, lambda client: client.namespaces(prefix=prefix))
    if json:
        for info in infos:
            output.print_json(_as_map(info))
        return
    rows = [(i.name, *(use for _, use in uses(i._asdict())), i.exchanges, i.schedules) for i in infos]
    output.print_table(("namespace", "queues", "connections", "size", "exchanges", "schedules"), rows)


@app.command(epilog="Example: penstock namespace show billing --json")
def show(namespace: NamespaceName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show a namespace's limits and what is in it."""
    info = run_with_client(url, lambda client: client.namespace(namespace).info())
    if json:
        output.print_json(_as_map(info))
        return
    created_at = info.created_at.isoformat(timespec="milliseconds")
    rest = [("exchanges", info.exchanges), ("schedules", info.schedules), ("created at", created_at)]
    output.print_facts([("name", info.name), *uses(info._asdict()), *rest])


@app.command(epilog="Example: penstock namespace alter billing --max-queues 200")
def alter(
    namespace: NamespaceName,
    max_queues: MaxQueues = None,
    max_connections: MaxConnections = None,
    max_bytes: MaxBytes = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Give a namespace other limits. What is in it stays, whatever they are."""

    async def go(client: "Client") -> dict[str, tuple[int, int]]:
        return await client.namespace(namespace).alter(
            max_queues=max_queues, max_connections=max_connections, max_bytes=max_bytes
        )

    changed = run_with_client(url, go)
    if json:
        output.print_json({"namespace": namespace, "changed": changed})
        return
    for name, (before, after) in changed.items():
        output.print_text(f"{name}: {output.cell_text(before)} is now {output.cell_text(after)}")
    if not changed:
        output.print_text("nothing changed")


@app.command(epilog="Example: penstock namespace delete billing --yes")
def delete(namespace: NamespaceName, yes: Yes = False, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Delete a namespace that nothing is in."""
    require_yes(f"Delete namespace {output.printable(namespace)}?", yes=yes)
    run_with_client(url, lambda client: client.namespace(namespace).delete())
    if json:
        output.print_json({"namespace": namespace, "deleted": True})
    else:
        output.print_text(f"namespace {output.printable(namespace)} deleted")


def _as_map(info: "NamespaceInfo") -> dict[str, Any]:
    return info._asdict() | {"created_at": info.created_at.isoformat(timespec="milliseconds")}


def uses(info: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how much there is of each limit: ``3 of 10``."""
    return [
        ("queues", _of(f"{info['queues']:,}", info["max_queues"], f"{info['max_queues']:,}")),
        ("connections", _of(f"{info['connections']:,}", info["max_connections"], f"{info['max_connections']:,}")),
        ("size", _of(output.bytes_text(info["bytes"]), info["max_bytes"], output.bytes_text(info["max_bytes"]))),
    ]


def _of(used: str, limit: int, limit_text: str) -> str:
    return f"{used} of {limit_text}" if limit else used
