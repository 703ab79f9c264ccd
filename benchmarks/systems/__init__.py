"""The brokers under measurement: how each is found, started and named."""

from benchmarks.systems.base import System
from benchmarks.systems.nats import Nats
from benchmarks.systems.penstock import Penstock
from benchmarks.systems.rabbitmq import RabbitMQ
from benchmarks.systems.redis import Redis

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        Penstock(),
        Redis(),
        Nats(synced=True),
        Nats(synced=False),
        RabbitMQ(quorum=True),
        RabbitMQ(quorum=False),
    )
}

__all__ = ["SYSTEMS", "System"]
