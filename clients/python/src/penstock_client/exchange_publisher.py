"""Publishing a stream of messages through an exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from penstock_client.gathering import BLOCK_MESSAGES, MESSAGE_BYTES, Run
from penstock_client.message import Publishable
from penstock_client.outgoing import Outgoing
from penstock_client.publisher import BasePublisher
from penstock_client.ways import way_of

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
        self._by_key: dict[str, Run] = {}

    async def send(self, routing_key: str, message: Publishable) -> None:
        """Publish soon; suspends while the window is full.

        Raises PublishFailed as soon as it is known that something sent before failed, and at the end of the publisher.
        """
        run = self._by_key.get(routing_key) or self._run_of(routing_key)
        messages, gathering = run.messages, self._gathering
        if type(message) is bytes and 0 < len(messages) < BLOCK_MESSAGES - 1:
            room_bytes = gathering.room_bytes - len(message) - MESSAGE_BYTES
            if room_bytes > 0:
                gathering.room_bytes = room_bytes
                messages.append(message)
                return
        await self._gather(run, self.prepare(message))

    async def send_prepared(self, messages: Sequence[tuple[str, Outgoing]]) -> None:
        """Publish soon what ``prepare`` returned, each under its routing key; failures are left for later."""
        for routing_key, message in messages:
            run = self._by_key.get(routing_key) or self._run_of(routing_key)
            if self._put(run, message) and not run.route.has_room:
                await self._producer.room(run.route)

    def _run_of(self, routing_key: str) -> Run:
        """Return the run of a routing key that is new, or was forgotten."""
        way = way_of(self._exchange, routing_key, self._mandatory)
        if len(self._runs) >= self._runs_kept_max:
            self._forget_idle_runs()
            self._runs_kept_max = max(RUNS_KEPT_MAX, 2 * len(self._runs))
            self._by_key = {key: run for key, run in self._by_key.items() if run.messages}
        run = self._by_key[routing_key] = self._run(way)
        return run
