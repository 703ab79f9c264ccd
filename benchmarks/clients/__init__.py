"""Loads through the Python client that a user of each broker would pick."""

from benchmarks.clients.base import Client
from benchmarks.jobs import Job


def open_client(job: Job) -> Client:
    """Return an unopened client of the job's family; only that family's library is imported."""
    if job.family == "penstock":
        from benchmarks.clients.penstock import PenstockClient

        return PenstockClient(job)
    if job.family == "redis":
        from benchmarks.clients.redis import RedisClient

        return RedisClient(job)
    if job.family == "nats":
        from benchmarks.clients.nats import NatsClient

        return NatsClient(job)
    from benchmarks.clients.rabbitmq import RabbitMQClient

    return RabbitMQClient(job)


__all__ = ["Client", "open_client"]
