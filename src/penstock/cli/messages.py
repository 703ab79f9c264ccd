"""How a message is printed: as JSON, raw, or as a line for people."""

import base64
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from penstock.cli.output import printable

if TYPE_CHECKING:
    from penstock_client import DeadLetter, Failure, Reply, ScheduledMessage
    from penstock_client.delivery import MessageView

BODY_CHARACTERS_SHOWN: Final = 400
"""Of a body on a terminal; JSON and raw output have all of it."""


class MessageFormat(StrEnum):
    """What a message is printed as."""

    JSON = "json"
    RAW = "raw"
    TEXT = "text"


def message_map(message: "MessageView") -> dict[str, Any]:
    """Return what JSON output shows of a message. A body that is not UTF-8 is ``body_base64``."""
    shown: dict[str, Any] = {
        "queue": message.queue,
        "offset": message.offset,
        "attempt": message.attempt,
        "failures": message.failures,
        "published_at": message.published_at.isoformat(timespec="milliseconds"),
    }
    optional = {
        "key": message.key,
        "message_id": message.message_id,
        "content_type": message.content_type,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "priority": message.properties.get("priority"),
        "ttl": message.ttl,
        "timestamp": message.timestamp and message.timestamp.isoformat(timespec="milliseconds"),
        "headers": plain_value(message.headers),
        "dead": message.dead and _dead_map(message.dead),
    }
    shown |= {name: value for name, value in optional.items() if value or value == 0}
    return shown | body_map(message.body)


def reply_map(reply: "Reply") -> dict[str, Any]:
    """Return what JSON output shows of a reply; its body as in ``message_map``."""
    shown = {
        "replied_at": reply.replied_at.isoformat(timespec="milliseconds"),
        "key": reply.key,
        "message_id": reply.message_id,
        "content_type": reply.content_type,
        "headers": reply.headers,
        "error": reply.error and reply.error._asdict(),
    }
    return {name: value for name, value in shown.items() if value} | body_map(reply.body)


def scheduled_map(message: "ScheduledMessage") -> dict[str, Any]:
    """Return what JSON output shows of a scheduled message."""
    times = {name: getattr(message, name).isoformat(timespec="milliseconds") for name in ("due_at", "published_at")}
    optional = {"key": message.key, "message_id": message.message_id, "headers": message.headers}
    shown = {"queue": message.queue, "id": message.id, **times}
    return shown | {name: value for name, value in optional.items() if value} | body_map(message.body)


def scheduled_line(message: "ScheduledMessage") -> str:
    """Return a scheduled message on one line: id, due time, body."""
    due_at = message.due_at.astimezone().isoformat(sep=" ", timespec="seconds")
    return f"{message.id:>8}  {due_at}  {body_text(message.body)}"


def body_map(body: bytes) -> dict[str, str]:
    """Return a body for JSON; one that is not UTF-8 is ``body_base64``."""
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode("ascii")}


def _dead_map(dead: "DeadLetter") -> dict[str, Any]:
    return dead._asdict() | {
        "failures": [failure_map(failure) for failure in dead.failures],
        "published_at": dead.published_at.isoformat(timespec="milliseconds"),
        "earlier": dead.earlier and _dead_map(dead.earlier),
    }


def failure_map(failure: "Failure") -> dict[str, Any]:
    """Return what JSON output shows of a failed attempt."""
    times = {name: getattr(failure, name).isoformat(timespec="milliseconds") for name in ("time", "leased_at")}
    return failure._asdict() | times


def render(messages: "Iterable[MessageView]", form: MessageFormat) -> bytes:
    """Return the lines of some messages, each ended by a line feed."""
    match form:
        case MessageFormat.JSON:
            return b"".join(_json_line(message) for message in messages)
        case MessageFormat.RAW:
            return b"".join(message.body + b"\n" for message in messages)
        case MessageFormat.TEXT:
            return "".join(f"{text_line(message)}\n" for message in messages).encode()


def _json_line(message: "MessageView") -> bytes:
    return json_text(message_map(message)).encode("utf-8", "replace") + b"\n"


def json_text(shown: dict[str, Any]) -> str:
    """Return a message's map as JSON; bytes in its headers, which JSON cannot hold, as base64."""
    return json.dumps(shown, ensure_ascii=False, default=_as_base64)


def plain_value(value: Any) -> Any:
    """Return a value as JSON has it: bytes in base64, the keys of maps as texts."""
    if isinstance(value, dict):
        return {str(plain_value(key)): plain_value(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain_value(each) for each in value]
    return _as_base64(value) if isinstance(value, bytes) else value


def _as_base64(value: object) -> str:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def text_line(message: "MessageView") -> str:
    """Return a message on one line: offset, body, and what else it carries."""
    parts = [f"{message.offset:>8}", body_text(message.body)]
    parts += [f"key={printable(message.key)}"] if message.key else []
    parts += [f"{printable(str(name))}={printable(str(value))}" for name, value in (message.headers).items()]
    parts += [f"attempt={message.attempt}"] if message.attempt > 1 else []
    parts += [f"dead: {printable(message.dead.reason.partition(chr(10))[0])}"] if message.dead else []
    return "  ".join(parts)


def reply_line(reply: "Reply") -> str:
    """Return a reply on one line: body, headers, and why the request failed, if it did."""
    parts = [body_text(reply.body)] if reply.body or not reply.error else []
    parts += [f"failed: {printable(reply.error.message)} ({printable(reply.error.code)})"] if reply.error else []
    parts += [f"{printable(str(name))}={printable(str(value))}" for name, value in reply.headers.items()]
    return "  ".join(parts)


def body_text(body: bytes) -> str:
    """Return the start of a body, without anything that could steer a terminal."""
    text = printable(body[: BODY_CHARACTERS_SHOWN * 4].decode("utf-8", "backslashreplace"))
    cut = len(text) > BODY_CHARACTERS_SHOWN or len(body) > BODY_CHARACTERS_SHOWN * 4
    return f"{text[:BODY_CHARACTERS_SHOWN]}... ({len(body):,} bytes)" if cut else text
