"""Namespaces, blocking: as their asyncio twins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_client.namespaces import Namespace as AsyncNamespace
from penstock_client.namespaces import NamespaceInfo

if TYPE_CHECKING:
    from penstock_client.sync import _LoopThread


class Namespace:
    """A namespace of one broker; a handle, no I/O."""

    def __init__(self, thread: _LoopThread, namespace: AsyncNamespace) -> None:
        self._thread = thread
        self._namespace = namespace
        self.name = namespace.name

    def declare(self, **limits: int) -> bool:
        """Have the namespace exist; True when it is new. Limits as in the asyncio API."""
        return self._thread.run(self._namespace.declare(**limits))

    def alter(self, **limits: int) -> dict[str, tuple[int, int]]:
        """Give it other limits; return what changed."""
        return self._thread.run(self._namespace.alter(**limits))

    def info(self) -> NamespaceInfo:
        """Describe it. Raises UnknownNamespace."""
        return self._thread.run(self._namespace.info())

    def delete(self) -> None:
        """Remove it. Raises NamespaceInUse while anything is in it."""
        self._thread.run(self._namespace.delete())
