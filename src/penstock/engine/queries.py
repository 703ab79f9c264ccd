"""What FIND looks for: its arguments, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.core import finding
from penstock.core.operands import KEYS, PROPERTIES
from penstock.core.selectors import Selector, columns_of
from penstock.core.values import Refused
from penstock.engine.interface import BODIES

if TYPE_CHECKING:
    from penstock.engine.arguments import Arguments

DEAD: Final = "dead"
"""In the dead-letter queue; the other states are core's."""
STATES: Final = (
    *(finding.READY, finding.SCHEDULED, finding.LEASED, finding.DYING, finding.HELD, finding.EXPIRED),
    DEAD,
)
_U64_MAX: Final = 0xFFFFFFFFFFFFFFFF


class Origin(NamedTuple):
    """Where dead letters came from, and why; None is any queue, any group, any reason."""

    queue: str | None
    group: str | None
    reason: str | None


class Query(NamedTuple):
    """What is looked for. ``since_ms`` is included, ``until_ms`` is not. ``reason`` is of dead letters only;
    ``came_from`` keeps to dead letters from there."""

    state: str | None = None
    where: Selector | None = None
    text: bytes = b""
    key: str | None = None
    since_ms: int = 0
    until_ms: int = _U64_MAX
    reason: str | None = None
    came_from: Origin | None = None

    @property
    def columns(self) -> frozenset[str]:
        """The columns that have to be decoded."""
        wanted = columns_of(self.where.tree) if self.where else frozenset()
        wanted |= {BODIES} if self.text else set()
        wanted |= {KEYS} if self.key is not None else set()
        return wanted | ({PROPERTIES} if self.came_from is not None else set())


def read_query(arguments: Arguments) -> Query:
    """Take what is looked for from a request's arguments. Raises Refused (bad-setting)."""
    state = _checked_state(arguments.optional("state"))
    return Query(
        state,
        checked_selector(arguments.optional("where")),
        _checked_text(arguments.optional("text")),
        _checked_text_or_nil("key", arguments.optional("key")),
        arguments.number("since_ms", 0),
        arguments.number("until_ms", _U64_MAX),
        _checked_reason(arguments.optional("reason"), state),
    )


def checked_selector(where: Any) -> Selector | None:
    """Return a selector, which was parsed where it arrived, or None. Raises Refused (bad-setting)."""
    if where is not None and not isinstance(where, Selector):
        raise Refused("bad-setting", f"where must be a selector, not {where!r}")
    return where


def _checked_text(text: Any) -> bytes:
    if text is None:
        return b""
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    if not isinstance(text, bytes):
        raise Refused("bad-setting", f"text must be text or bytes, not {text!r}")
    return text


def _checked_text_or_nil(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Refused("bad-setting", f"{name} must be a text or nil, not {value!r}")
    return value


def _checked_reason(reason: Any, state: str | None) -> str | None:
    if reason is not None and state != DEAD:
        raise Refused("bad-setting", f"reason is of dead letters: give it with state {DEAD!r}, not {state!r}")
    return _checked_text_or_nil("reason", reason)


def _checked_state(state: Any) -> str | None:
    if state is not None and state not in STATES:
        raise Refused("bad-setting", f"state must be one of {', '.join(STATES)}, or nil, not {state!r}")
    return state  # type: ignore[no-any-return] # one of the texts
