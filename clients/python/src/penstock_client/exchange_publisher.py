"""Publishing a stream of messages through an exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from penstock_client.gathering import Run
from penstock_client.message import Publishable
from penstock_client.outgoing import Outgoing
from penstock_client.publisher import BasePublisher
from penstock_client.ways import Way, way_of

if TYPE_CHECKING:
    from penstock_client.client import Client

RUNS_KEPT_MAX: Final = 10_000
"""Routing keys whose gathering is kept between their messages; past it, those with nothing gathered are forgotten."""


class ExchangePublisher(BasePublisher):
    """Publishes through one exchange: ``await publisher.send(routing_key, body)``.

    Messages with the same routing key that are sent closely after each other share a block.
    """

    def __init__(self, client: Client, exchange: str, durability: str, mandatory: bool) -> None:
        super().__init__(client, durability)
        self._exchange = exchange
        self._mandatory = mandatory
        self._runs_kept_max = RUNS_KEPT_MAX

    async def send(self, routing_key: str, message: Publishable) -> None:
        """Publish soon; suspends while the window is full.

        Raises PublishFailed as soon as it is known that something sent before failed, and at the end of the publisher.
        """
        await self._gather(self._run_of(routing_key), self.prepare(message))

    async def send_prepared(self, messages: Sequence[tuple[str, Outgoing]]) -> None:
        """Publish soon what ``prepare`` returned, each under its routing key; failures are left for later."""
        for routing_key, message in messages:
            if self._put(self._run_of(routing_key), message) and not self._producer.has_room:
                await self._producer.room()

    def _run_of(self, routing_key: str) -> Run:
        way = Way(self._exchange, routing_key, self._mandatory)
        run = self._runs.get(way)
        if run is None:
            way_of(*way)
            if len(self._runs) >= self._runs_kept_max:
                self._forget_idle_runs()
                self._runs_kept_max = max(RUNS_KEPT_MAX, 2 * len(self._runs))
            run = self._run(way)
        return run
