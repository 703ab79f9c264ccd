"""What can be wrong with a handler, or with what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock_client.errors import PenstockError


class BadHandler(PenstockError):
    """A function that cannot be a handler. Raised where it is decorated; says where it is and what to change."""

    code = "bad-handler"


class InvalidPayload(PenstockError):
    """A body that is not what its handler takes. The message goes to the dead letters: trying again would not help."""

    code = "invalid-payload"


def bad_handler(handler: Callable[..., Any], trouble: str) -> BadHandler:
    """Return the error that says what is wrong with a handler and where it stands."""
    code = getattr(handler, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return BadHandler(f"handler {getattr(handler, '__qualname__', repr(handler))}{place}: {trouble}")
