"""A group's own small state: keys with values, changed only in transactions, kept and snapshot with the group.

It is for what a consumer must know again after a restart, exactly as far as its acknowledgements got: a watermark, a
running total, the name of the file it writes. Values are bytes here; what they mean is between the clients.

Every value has a *version*, which a writer names to say what it has read: compare and set. Versions increase over all
keys of a group and are never used twice, also not after a key, or the group itself, was removed and made again: they
begin with the group's number, which is never used again, and the default group hands its last one on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock.core.values import Refused, check_name

if TYPE_CHECKING:
    from penstock.core.facts import GroupStateSet
    from penstock.core.group import Group

STATE_KEYS_MAX: Final = 256
"""Keys of one group: a state is a handful of marks and totals. A table belongs in a database."""
STATE_VALUE_BYTES_MAX: Final = 4096
"""One value: a cursor of another system, a small document."""
STATE_BYTES_MAX: Final = 64 * 1024
"""Keys and values of one group: all of it is in every snapshot, and in every reply to who reads it."""

ABSENT: Final = 0
"""The version of a key that is not there."""
ANY_VERSION: Final = 0xFFFFFFFFFFFFFFFF
"""What a writer expects that has not read: whatever is there is replaced."""
_VERSION_BITS: Final = 32

StateItem = tuple[str, int, bytes]
"""(key, version, value)"""


class StateValue(NamedTuple):
    """One value, and the version that a writer has to name to replace it."""

    version: int
    data: bytes


class GroupState:
    """The keys of one group. Made with its first value: most groups have none."""

    __slots__ = ("values", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        """The latest that was given."""
        self.values: dict[str, StateValue] = {}

    def apply(self, fact: GroupStateSet) -> None:
        """A key has a new value, or none any more."""
        self.version = fact.version
        if fact.value:
            self.values[fact.key] = StateValue(fact.version, fact.value)
        else:
            self.values.pop(fact.key, None)

    def items(self) -> list[StateItem]:
        """Everything, by key."""
        return [(key, *self.values[key]) for key in sorted(self.values)]


def state_values(group: Group) -> Mapping[str, StateValue]:
    """Return what a group's state holds."""
    return group.state.values if group.state is not None else {}


def last_version(group: Group) -> int:
    """Return the latest version given in this group; the next one is above it."""
    return group.state.version if group.state is not None else group.number << _VERSION_BITS


def has_changed(group: Group, key: str, expected: int) -> bool:
    """True when a key's version is not the one that a writer has read."""
    found = state_values(group).get(key)
    return expected not in (ANY_VERSION, found.version if found else ABSENT)


def check_state(group: Group, changes: dict[str, bytes]) -> None:
    """Raise Refused (bad-name, limit-reached) unless the group's state may have these values; empty ones go."""
    for key, value in changes.items():
        check_name(key)
        if len(value) > STATE_VALUE_BYTES_MAX:
            raise _too_much(group, f"the value of {key!r} has {len(value)} bytes; at most {STATE_VALUE_BYTES_MAX}")
    after = {key: value.data for key, value in state_values(group).items()} | changes
    left = {key: value for key, value in after.items() if value}
    size_bytes = sum(len(key.encode()) + len(value) for key, value in left.items())
    if len(left) > STATE_KEYS_MAX or size_bytes > STATE_BYTES_MAX:
        held = f"{len(left)} keys with {size_bytes} bytes"
        raise _too_much(group, f"{held}; at most {STATE_KEYS_MAX} with {STATE_BYTES_MAX}")


def _too_much(group: Group, what: str) -> Refused:
    where = f"the state of group {group.name!r} of queue {group.queue.name!r}"
    return Refused("limit-reached", f"{where}: {what}; keep tables elsewhere")
