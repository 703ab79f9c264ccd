"""The named commands on namespaces. They are for sessions in the root: what is in a namespace sees nothing outside."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

from penstock.core import namespacing
from penstock.core.namespaces import Namespace, parse_namespace_settings
from penstock.core.values import Refused

if TYPE_CHECKING:
    from penstock.engine.arguments import Call, Handler

LIST_LIMIT_MAX: Final = 1000


def _declare(call: Call) -> dict[str, Any]:
    _check_root(call)
    name = call.arguments.text("namespace", None)
    passive = call.arguments.flag("passive", False)
    values = call.arguments.rest()
    broker = call.engine.broker
    if passive:
        return {"namespace": namespacing.find_namespace(broker, name).name, "created": False}
    settings = parse_namespace_settings(values)
    space, created = namespacing.declare_namespace(broker, name, settings, call.now_ms)
    return {"namespace": space.name, "created": created}


def _alter(call: Call) -> dict[str, Any]:
    _check_root(call)
    space = namespacing.find_namespace(call.engine.broker, call.arguments.text("namespace", None))
    return {"changed": namespacing.alter_namespace(call.engine.broker, space, call.arguments.rest())}


def _describe(call: Call) -> dict[str, Any]:
    return namespacing.describe_namespace(call.engine.broker, _named(call))


def _delete(call: Call) -> dict[str, Any]:
    namespacing.delete_namespace(call.engine.broker, _named(call))
    return {}


def _list(call: Call) -> dict[str, Any]:
    _check_root(call)
    prefix = call.arguments.text("prefix", "")
    after = call.arguments.text("after", "")
    limit = call.arguments.number("limit", 500, 1, LIST_LIMIT_MAX)
    call.arguments.end()
    broker = call.engine.broker
    names = sorted(name for name in broker.namespaces.by_name if name.startswith(prefix))
    start = bisect_right(names, after) if after else 0
    page = [broker.namespaces.by_name[name] for name in names[start : start + limit]]
    described = [namespacing.describe_namespace(broker, space) for space in page]
    return {"namespaces": described, "more": start + limit < len(names)}


def _named(call: Call) -> Namespace:
    _check_root(call)
    name = call.arguments.text("namespace", None)
    call.arguments.end()
    return namespacing.find_namespace(call.engine.broker, name)


def _check_root(call: Call) -> None:
    if call.session.namespace:
        raise Refused("unsupported", "namespaces are administered over a connection to the root: a URL without a path")


NAMESPACE_COMMANDS: Final[dict[str, Handler]] = {
    "namespace_declare": _declare,
    "namespace_alter": _alter,
    "namespace_describe": _describe,
    "namespace_delete": _delete,
    "namespace_list": _list,
}
