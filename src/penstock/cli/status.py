"""``penstock status``: what the broker is doing."""

from typing import TYPE_CHECKING, Any

import typer

from penstock.cli import output
from penstock.cli.namespace import uses
from penstock.cli.options import DEFAULT_URL, Json, Url
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock_client import Client


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: penstock status --json")(status)


def status(url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show what the broker is doing. Ends with 69 when none answers: a health check."""

    async def ask(client: "Client") -> dict[str, Any]:
        return await client.status()

    facts = run_with_client(url, ask)
    if json:
        output.print_json(facts)
    else:
        alarms, namespaces = facts.pop("alarms"), facts.pop("namespaces", ())
        rows = [(_label(name), _shown(name, value)) for name, value in facts.items()]
        rows += [(f"namespace {info['namespace']}", _uses(info)) for info in namespaces]
        rows += [("alarm", f"{output.printable(one['queue'])}: {output.alarm_text(one)}") for one in alarms]
        output.print_facts(rows)


def _uses(info: dict[str, Any]) -> str:
    return ", ".join(f"{what} {use}" for what, use in uses(info))


def _label(name: str) -> str:
    for unit in ("_bytes", "_ms", "_us"):
        name = name.removesuffix(unit)
    return name.replace("_", " ")


def _shown(name: str, value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        if name.endswith("_bytes"):
            return output.bytes_text(value)
        if name.endswith("_ms"):
            return output.duration_text(value)
        if name.endswith("_us"):
            return f"{value / 1000:.2f} ms"
    return value
