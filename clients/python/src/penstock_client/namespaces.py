"""Namespaces: chroots of names with limits, administered over a connection to the root."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client


class NamespaceInfo(NamedTuple):
    """A namespace: what is in it, and its limits, 0 being none. ``bytes`` is what is stored for its queues."""

    name: str
    queues: int
    max_queues: int
    connections: int
    max_connections: int
    bytes: int
    max_bytes: int
    exchanges: int
    schedules: int
    created_at: datetime

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Return the info in a reply."""
        return cls(
            name=raw["namespace"],
            created_at=datetime.fromtimestamp(raw["created_at_ms"] / 1000, UTC),
            **{field: raw[field] for field in cls._fields[1:-1]},
        )


class Namespace:
    """A namespace of one broker; a handle, no I/O until something is asked of it."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    def __repr__(self) -> str:
        return f"<namespace {self.name!r}>"

    async def declare(
        self, *, max_queues: int | None = None, max_connections: int | None = None, max_bytes: int | None = None
    ) -> bool:
        """Have the namespace exist; True when it is new. A limit that is not given is none.

        Raises SettingsDiffer when it exists with other limits.
        """
        limits = _given(max_queues, max_connections, max_bytes)
        reply = await self._client.call(FrameType.NAMESPACE_DECLARE, {"namespace": self.name, **limits})
        return bool(reply["created"])

    async def alter(
        self, *, max_queues: int | None = None, max_connections: int | None = None, max_bytes: int | None = None
    ) -> dict[str, tuple[int, int]]:
        """Give it other limits, those that are given (0: none); return what changed. What is there stays."""
        limits = _given(max_queues, max_connections, max_bytes)
        reply = await self._client.call(FrameType.NAMESPACE_ALTER, {"namespace": self.name, **limits})
        return {name: (before, after) for name, (before, after) in reply["changed"].items()}

    async def info(self) -> NamespaceInfo:
        """Describe it. Raises UnknownNamespace."""
        return NamespaceInfo.of(await self._client.call(FrameType.NAMESPACE_DESCRIBE, {"namespace": self.name}))

    async def delete(self) -> None:
        """Remove it. Raises NamespaceInUse while anything is in it."""
        await self._client.call(FrameType.NAMESPACE_DELETE, {"namespace": self.name}, once=True)


def _given(max_queues: int | None, max_connections: int | None, max_bytes: int | None) -> dict[str, int]:
    limits = {"max_queues": max_queues, "max_connections": max_connections, "max_bytes": max_bytes}
    return {name: value for name, value in limits.items() if value is not None}


async def list_namespaces(client: Client, prefix: str) -> list[NamespaceInfo]:
    """Describe every namespace whose name starts with ``prefix``, in name order."""
    found: list[NamespaceInfo] = []
    more = True
    while more:
        arguments = {"prefix": prefix, "after": found[-1].name if found else ""}
        page = await client.call(FrameType.NAMESPACE_LIST, arguments)
        found += [NamespaceInfo.of(raw) for raw in page["namespaces"]]
        more = bool(page["more"])
    return found
