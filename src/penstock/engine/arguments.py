"""A command under way and its arguments: read one by one, wrong and unknown ones refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.core.definitions import find_queue
from penstock.core.group import Group
from penstock.core.groups import find_group, named_groups
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import Refused

if TYPE_CHECKING:
    from penstock.engine.engine import Engine
    from penstock.engine.oldest import Oldest

I32_MAX: Final = 0x7FFFFFFF
U32_MAX: Final = 0xFFFFFFFF
U64_MAX: Final = 0xFFFFFFFFFFFFFFFF


class Arguments:
    """A command's arguments: read one by one, wrong and unknown ones refused by name."""

    def __init__(self, command: str, values: dict[str, Any]) -> None:
        self._command = command
        self._values = dict(values)

    def number(self, name: str, default: int | None, low: int = 0, high: int = U64_MAX) -> int:
        """Take a whole number within bounds; without a default it must be there."""
        value = self._take(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Refused("bad-setting", f"{name} must be a whole number from {low} to {high}, not {value!r}")
        return value

    def text(self, name: str, default: str | None) -> str:
        """Take a text."""
        value = self._take(name, default)
        if not isinstance(value, str):
            raise Refused("bad-setting", f"{name} must be a text, not {value!r}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Take a truth value."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise Refused("bad-setting", f"{name} must be true or false, not {value!r}")
        return value

    def optional(self, name: str) -> Any:
        """Take a value that may be missing."""
        return self._values.pop(name, None)

    def rest(self) -> dict[str, Any]:
        """Take all that is left."""
        values, self._values = self._values, {}
        return values

    def end(self) -> None:
        """Refuse what was not taken."""
        if self._values:
            names = ", ".join(sorted(map(repr, self._values)))
            raise Refused("bad-setting", f"{self._command} has no argument {names}")

    def _take(self, name: str, default: Any) -> Any:
        value = self._values.pop(name, default)
        if value is None:
            raise Refused("bad-setting", f"{self._command} needs {name}")
        return value


class Call(NamedTuple):
    """One command under way."""

    engine: Engine
    session: Session
    request: int
    arguments: Arguments

    @property
    def now_ms(self) -> int:
        """The broker's time."""
        return self.engine.clock_ms()

    def queue(self) -> Queue:
        """The queue it names; its last argument. Raises Refused (unknown-queue)."""
        name = self.arguments.text("queue", None)
        self.arguments.end()
        return find_queue(self.engine.broker, name)

    def group(self) -> Group:
        """The group it names, or the default one. Raises Refused (unknown-queue, unknown-group)."""
        name = self.arguments.text("group", "")
        return find_group(self.queue(), name)

    def groups(self) -> list[Group]:
        """The group it names; for nil all that the queue's messages are kept for."""
        name = self.arguments.optional("group")
        return named_groups(self.queue(), name)

    def answer_with_ages(
        self, infos: list[dict[str, Any]], oldest: list[Oldest | None], result: dict[str, Any]
    ) -> None:
        """Give each info the age of its oldest message, and answer with the result: the journal may have to be read."""

        def known(ages_ms: list[int | None]) -> None:
            for info, age_ms in zip(infos, ages_ms, strict=True):
                info["oldest_age_ms"] = age_ms
            self.engine.later(self.session.number, self.request, result)

        self.engine.oldest.look(oldest, known)


Handler = Callable[[Call], dict[str, Any] | None]
"""Carries out one command: returns its result, or None when it answers by itself later."""
