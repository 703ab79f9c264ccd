"""The state of a group: a small map that its consumers keep at the broker, changed only in transactions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final, NamedTuple

import msgpack

from penstock_client.errors import ProtocolViolation
from penstock_client.wire import structure
from penstock_client.wire.limits import STATE_VALUE_BYTES_MAX
from penstock_client.wire.transaction import VERSION_ABSENT, VERSION_ANY, StateWrite

GroupAddress = tuple[str, str]
"""(queue, group)"""

_packer: Final = msgpack.Packer(use_bin_type=True, autoreset=True)


class Known(NamedTuple):
    """A value as it was read, with the version that it had."""

    version: int
    value: Any


def known_values(reply: Mapping[str, Any]) -> dict[str, Known]:
    """Return the values in the reply to a read."""
    try:
        return {key: Known(int(version), structure.build(data)) for key, (version, data) in reply["state"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolViolation(f"the state of a group that cannot be decoded: {error!r}") from error


class State(MutableMapping[str, Any]):
    """The state of one group within a transaction: what was read, and the changes that its commit makes.

    Values are what msgpack carries: texts, bytes, numbers, truth values, None, lists and dicts of these. What is
    assigned is taken as it is then: changing a list afterwards changes nothing here.

    A state that was read is compare-and-set: the commit fails as a whole (TransactionConflict) when somebody else
    changed a key meanwhile that is changed here. One that was not read can be assigned and deleted, whatever it is.
    """

    def __init__(self, known: dict[str, Known] | None) -> None:
        self._known = known
        self._changes: dict[str, tuple[Any, bytes]] = {}

    def __repr__(self) -> str:
        shown = "not read" if self._known is None else repr(dict(self))
        return f"<group state {shown}, {len(self._changes)} changes>"

    def __getitem__(self, key: str) -> Any:
        if key not in self._changes:
            return self._read()[key].value
        value, data = self._changes[key]
        if not data:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        try:
            data = _packer.pack(value)
        except (TypeError, ValueError, OverflowError) as error:
            _packer.reset()
            raise type(error)(f"a value that cannot be kept in a group's state: {error}") from error
        if len(data) > STATE_VALUE_BYTES_MAX:
            raise ValueError(f"the value of {key!r} takes {len(data)} bytes; at most {STATE_VALUE_BYTES_MAX}")
        self._changes[key] = (structure.build(data), data)

    def __delitem__(self, key: str) -> None:
        if self._known is not None and key not in self:
            raise KeyError(key)
        self._changes[key] = (None, b"")

    def __iter__(self) -> Iterator[str]:
        keys = dict.fromkeys((*self._read(), *self._changes))
        return iter([key for key in keys if key not in self._changes or self._changes[key][1]])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def writes(self, address: GroupAddress) -> list[StateWrite]:
        """Return what a commit has to set."""
        queue, group = address
        return [StateWrite(queue, group, key, self._version(key), data) for key, (_, data) in self._changes.items()]

    @property
    def is_changed(self) -> bool:
        """True when a commit has something to set."""
        return bool(self._changes)

    def _version(self, key: str) -> int:
        if self._known is None:
            return VERSION_ANY
        known = self._known.get(key)
        return known.version if known else VERSION_ABSENT

    def _read(self) -> dict[str, Known]:
        if self._known is None:
            raise RuntimeError(
                "this state was not read, it can only be assigned: name its group,"
                " `async with client.transaction(group=queue.group(name)) as tx`"
            )
        return self._known
