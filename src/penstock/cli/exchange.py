"""``penstock exchange``: list, declare, show, bind, unbind, delete."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.cli import output
from penstock.cli.confirmation import require_yes
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.options import DEFAULT_URL, Json, Url, Yes
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock_client import Binding, Client, ExchangeInfo

app: Final = typer.Typer(
    help="Route messages to queues: exchanges and bindings.", epilog="Example: penstock exchange list"
)

ExchangeName = Annotated[str, typer.Argument(metavar="EXCHANGE", help="The exchange's name.", show_default=False)]


class ExchangeType(StrEnum):
    """How an exchange chooses."""

    DIRECT = "direct"
    FANOUT = "fanout"
    TOPIC = "topic"
    HEADERS = "headers"
    CONSISTENT_HASH = "consistent-hash"


class HashBy(StrEnum):
    """What a consistent-hash exchange hashes."""

    ROUTING_KEY = "routing-key"
    KEY = "key"
    HEADER = "header"


class Match(StrEnum):
    """How many of a binding's headers a message must have."""

    ALL = "all"
    ANY = "any"


QueueTarget = Annotated[
    str | None, typer.Argument(metavar="[QUEUE]", help="Where messages go; or --to-exchange.", show_default=False)
]
ToExchange = Annotated[
    str | None, typer.Option("--to-exchange", metavar="NAME", help="Lead to this exchange instead of a queue.")
]
RoutingKey = Annotated[
    str, typer.Option("--routing-key", "-k", metavar="KEY", help="The key, or for topics the pattern: orders.*.new")
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME[=VALUE]", help="A header to match; may be repeated.", show_default=False),
]
MatchOption = Annotated[Match, typer.Option("--match", help="Whether all headers must match, or any.")]
Weight = Annotated[int | None, typer.Option("--weight", min=1, help="The share of a consistent-hash binding.")]


@app.callback(invoke_without_command=True)
def _exchange(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.print_text(context.get_help().rstrip())
        raise typer.Exit


@app.command("list", epilog="Example: penstock exchange list --json")
def list_exchanges(
    prefix: Annotated[str, typer.Option(help="Only exchanges whose names start so.")] = "",
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """List exchanges and what went through them."""
    infos = run_with_client(url, lambda client: client.exchanges(prefix=prefix))
    if json:
        for info in infos:
            output.print_json(_describe(info))
        return
    columns = ("exchange", "type", "alternate", "bindings", "published", "unrouted", "unroutable")
    output.print_table(
        columns, [(i.name, i.type, i.alternate, i.bindings, i.published, i.unrouted, i.unroutable) for i in infos]
    )


@app.command(epilog="Example: penstock exchange declare events --type topic --alternate strays")
def declare(
    exchange: ExchangeName,
    type: Annotated[  # noqa: A002  the option's name
        ExchangeType, typer.Option(help="How it chooses where a message goes.")
    ] = ExchangeType.DIRECT,
    alternate: Annotated[
        str | None, typer.Option(metavar="NAME", help="The exchange that gets what no binding takes.")
    ] = None,
    hash_by: Annotated[HashBy, typer.Option(help="What a consistent-hash exchange hashes.")] = HashBy.ROUTING_KEY,
    hash_header: Annotated[str | None, typer.Option(metavar="NAME", help="The header, with --hash-by header.")] = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Create an exchange. Again with the same settings: nothing changes; with others: refused."""

    async def go(client: "Client") -> "tuple[bool, ExchangeInfo]":
        handle = client.exchange(exchange, type.value)
        created = await handle.declare(alternate=alternate, hash_by=hash_by.value, hash_header=hash_header)
        return created, await handle.info()

    created, info = run_with_client(url, go)
    if json:
        output.print_json({"created": created} | _describe(info))
    else:
        what = "created" if created else "exists with these settings"
        output.print_text(f"exchange {output.printable(exchange)} {what}")


@app.command(epilog="Example: penstock exchange show events")
def show(exchange: ExchangeName, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show an exchange's settings, counts and bindings."""

    async def go(client: "Client") -> "tuple[ExchangeInfo, list[Binding]]":
        handle = client.exchange(exchange)
        return await handle.info(), await handle.bindings()

    info, bindings = run_with_client(url, go)
    if json:
        output.print_json(_describe(info) | {"bindings": [binding._asdict() for binding in bindings]})
        return
    output.print_facts((name.replace("_", " "), value) for name, value in _describe(info).items())
    if bindings:
        output.print_text("")
        rows = [(b.kind, b.destination, b.routing_key, _arguments_text(b.arguments)) for b in bindings]
        output.print_table(("to", "name", "routing key", "headers"), rows)


@app.command(epilog="Example: penstock exchange bind events jobs --routing-key 'orders.*.new'")
def bind(
    exchange: ExchangeName,
    queue: QueueTarget = None,
    to_exchange: ToExchange = None,
    routing_key: RoutingKey = "",
    header: Headers = None,
    match: MatchOption = Match.ALL,
    weight: Weight = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Lead an exchange's messages to a queue, or to another exchange."""
    binding = _binding(queue, to_exchange, routing_key, header, match, weight)
    created = run_with_client(url, lambda client: client.exchange(exchange).bind(**binding))
    _print_bound(exchange, queue or to_exchange, created, json, done="bound", not_done="was bound already")


@app.command(epilog="Example: penstock exchange unbind events jobs --routing-key 'orders.*.new'")
def unbind(
    exchange: ExchangeName,
    queue: QueueTarget = None,
    to_exchange: ToExchange = None,
    routing_key: RoutingKey = "",
    header: Headers = None,
    match: MatchOption = Match.ALL,
    weight: Weight = None,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Take a binding back, said as it was made."""
    binding = _binding(queue, to_exchange, routing_key, header, match, weight)
    removed = run_with_client(url, lambda client: client.exchange(exchange).unbind(**binding))
    _print_bound(exchange, queue or to_exchange, removed, json, done="unbound", not_done="was not bound so")


@app.command(epilog="Example: penstock exchange delete events --if-unused --yes")
def delete(
    exchange: ExchangeName,
    if_unused: Annotated[bool, typer.Option("--if-unused", help="Only when nothing is bound to it.")] = False,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Delete an exchange with its bindings. Queues and what is in them stay."""
    require_yes(f"Delete exchange {output.printable(exchange)} and its bindings?", yes=yes)
    count = run_with_client(url, lambda client: client.exchange(exchange).delete(if_unused=if_unused))
    if json:
        output.print_json({"exchange": exchange, "deleted_bindings": count})
    else:
        output.print_text(f"deleted, with {'1 binding' if count == 1 else f'{count:,} bindings'}")


def _describe(info: "ExchangeInfo") -> dict[str, Any]:
    fields = info._asdict() | {"created_at": info.created_at.isoformat(timespec="milliseconds")}
    del fields["raw"]
    return fields


def _binding(
    queue: str | None,
    to_exchange: str | None,
    routing_key: str,
    header: list[str] | None,
    match: Match,
    weight: int | None,
) -> dict[str, Any]:
    if (queue is None) == (to_exchange is None):
        raise CommandError(ExitCode.USAGE, "give either a QUEUE or --to-exchange NAME")
    headers = None if header is None else dict(map(_header, header))
    return {
        "queue": queue,
        "routing_key": routing_key,
        "exchange": to_exchange,
        "headers": headers,
        "match": match.value,
        "weight": weight,
    }


def _header(given: str) -> tuple[str, str | None]:
    """``NAME`` asks for the header alone, ``NAME=VALUE`` for that text."""
    name, equals, value = given.partition("=")
    if not name:
        raise CommandError(ExitCode.USAGE, f"--header {given!r} is not NAME or NAME=VALUE")
    return name, value if equals else None


def _arguments_text(arguments: dict[str, Any]) -> str:
    match = arguments.get("x-match")
    compared = [
        f"{name}={value}" if value is not None else name for name, value in arguments.items() if name != "x-match"
    ]
    return f"{match}: {', '.join(compared)}" if match else ""


def _print_bound(exchange: str, target: str | None, changed: bool, json: bool, *, done: str, not_done: str) -> None:
    if json:
        output.print_json({"exchange": exchange, "destination": target, done: changed})
    else:
        text = f"{output.printable(str(target))} {done if changed else not_done}"
        output.print_text(f"exchange {output.printable(exchange)}: {text}")
