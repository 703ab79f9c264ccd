"""From a message's body to what a handler takes.

Models, dataclasses and everything else that pydantic validates go through it; ``bytes``, ``str``, ``dict`` and ``list``
work without it. The content type picks JSON or msgpack (``formats.py``); ``bytes`` and ``str`` take any.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, get_args, get_origin

from penstock_client.delivery import MessageView
from penstock_client.wire import structure
from penstock_client.worker.errors import InvalidPayload
from penstock_client.worker.formats import Format, find_pydantic, format_of

_ERRORS_SHOWN_MAX: Final = 20
"""Of what is wrong with a body: a list of thousands may have as many, and a reason has 4 KiB."""

_UNCHECKED: Final[dict[Any, tuple[Any, ...]]] = {dict: (str, Any), list: (Any,)}
"""Types that say nothing about what is in them, which leaves nothing for pydantic to do."""

Read = Callable[[MessageView], Any]
"""Takes a handler's argument out of a message; raises InvalidPayload."""


def make_reader(annotation: Any) -> Read:
    """Return what reads a body as an argument of this type. Raises TypeError when there is no such thing."""
    if annotation is bytes:
        return _read_bytes
    if annotation is str:
        return _read_text
    kind = annotation if annotation in _UNCHECKED else get_origin(annotation)
    if kind in _UNCHECKED and get_args(annotation) in ((), _UNCHECKED[kind]):
        return _plain_reader(kind)
    pydantic = find_pydantic()
    if pydantic is None:
        raise TypeError(f"a payload of type {_name_of(annotation)} needs pydantic: install penstock-client[worker]")
    return _model_reader(pydantic, annotation)


def _read_bytes(message: MessageView) -> bytes:
    return message.body


def _read_text(message: MessageView) -> str:
    try:
        return message.body.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"the body is not UTF-8: {error}") from error


def _plain_reader(kind: type) -> Read:
    def read(message: MessageView) -> Any:
        as_json = format_of(message.content_type) is Format.JSON
        value = _parse_json(message.body) if as_json else _parse_msgpack(message.body)
        if type(value) is not kind:
            raise InvalidPayload(f"the body holds a {type(value).__name__}, and the handler takes a {kind.__name__}")
        return value

    return read


def _model_reader(pydantic: ModuleType, annotation: Any) -> Read:
    try:
        adapter = pydantic.TypeAdapter(annotation)
    except (pydantic.errors.PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation) as error:
        raise TypeError(f"a payload cannot be of type {_name_of(annotation)}: {str(error).splitlines()[0]}") from error

    def read(message: MessageView) -> Any:
        try:
            if format_of(message.content_type) is Format.JSON:
                return adapter.validate_json(message.body)
            return adapter.validate_python(_parse_msgpack(message.body))
        except pydantic.ValidationError as error:
            raise InvalidPayload(_complaint(_name_of(annotation), error)) from error

    return read


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"the body is not JSON: {error}") from error


def _parse_msgpack(body: bytes) -> Any:
    try:
        if structure.value_ends(body) != [len(body)]:
            raise ValueError("bytes follow the value")
        return structure.build(body, strict_map_key=False)
    except ValueError as error:
        raise InvalidPayload(f"the body is not msgpack: {error}") from error


def _complaint(name: str, error: Any) -> str:
    """Return what is wrong with a body, each thing on a line of its own."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in errors[:_ERRORS_SHOWN_MAX]]
    more_count = len(errors) - len(lines)
    return "\n".join([f"the body is not a valid {name}", *lines, *([f"and {more_count} more"] if more_count else [])])


def _name_of(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
