"""Runs a seed: a busy phase of random actions with faults, then a quiet phase in which everything has to end (I20)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple
from unittest.mock import patch

from tests.sim import actions
from tests.sim.client import Client, Connection
from tests.sim.disk import Crashed
from tests.sim.options import Options, draw_options
from tests.sim.violation import Violation
from tests.sim.world import World

from penstock.core import broker, expiring, keyed, namespacing, schedule, scheduling, sieve
from penstock.core.values import ACK, EPHEMERAL_NUMBERS_FROM
from penstock.engine import deadletters, engine, finding, housekeeping, outbox, recurrence, sifting

_ROUNDS_MAX = 400


class Report(NamedTuple):
    """What one seed did."""

    seed: int
    trace_hash: str
    operations: int
    published: int
    delivered: int
    crashes: int


def run(seed: int, operations: int, print_trace: bool = False) -> Report:
    """Run one seed; raises Violation."""
    rng = random.Random(f"penstock {seed}")
    options = draw_options(rng)
    with _small_limits(options):
        world = World(seed, rng, options, print_trace)
        _busy(world, operations)
        _quiet(world)
    published = len(world.history.stored_uids)
    return Report(seed, world.trace_hash, operations, published, world.delivered, world.crashes)


@contextmanager
def _small_limits(options: Options) -> Iterator[None]:
    """Sizes that real brokers reach after hours are reached within a seed."""
    with ExitStack() as stack:
        for module, name, value in (
            (engine, "BATCH_CLOSE_BYTES", options.batch_close_bytes),
            (deadletters, "_SLICE_MESSAGES", options.slice_messages),
            (deadletters, "_STAGED_BYTES_MAX", options.batch_close_bytes * 8),
            (deadletters, "_REDRIVE_PREFETCH", options.slice_messages * 2),
            (outbox, "READ_AHEAD_BYTES", options.cache_bytes // 4 + 1),
            (housekeeping, "SLICE_QUEUES", options.slice_messages),
            (housekeeping, "GARBAGE_SEGMENTS", options.garbage_segments),
            (sifting, "SLICE_MESSAGES", options.slice_messages),
            (sieve, "AHEAD_MESSAGES", options.slice_messages),
            (finding, "SLICE_MESSAGES", options.slice_messages),
            (broker, "DROP_BLOCKS_MAX", options.slice_messages),
            (expiring, "MOVES_MAX", options.slice_messages),
            (expiring, "DYING_MAX", options.slice_messages),
            (keyed, "READY_AHEAD", options.slice_messages * 3),
            (keyed, "FORGET_MAX", options.slice_messages),
            (scheduling, "MOVES_MAX", options.slice_messages * 3),
            (schedule, "CHUNK_ENTRIES", options.slice_messages),
            (housekeeping, "LOG_BLOCKS", options.slice_messages),
            (recurrence, "FIRINGS_PER_TURN", options.slice_messages),
            (recurrence, "MISSED_MAX", 5),
            (namespacing, "COUNT_MS", 0),
            (namespacing, "RECOUNT_MS", 0),
        ):
            stack.enter_context(patch.object(module, name, value))
        yield


def _busy(world: World, operations: int) -> None:
    chosen, weights = actions.table(world.options)
    for action in world.rng.choices(chosen, weights, k=operations):
        try:
            action(world)
        except Crashed as crashed:
            world.crash(f"at {crashed}", world.draw_loss())


def _quiet(world: World) -> None:
    """No faults, no new messages: every confirm arrives, every lease ends, every message reaches a consumer."""
    world.trace("quiet")
    world.quiet = True
    world.fs.hook = None
    world.find_room()
    first = world.clients[0]
    actions.open_namespace(world, first.connection or first.connect())
    for client in world.clients[1:]:
        connection = client.connection or client.connect()
        for number in list(connection.consumers):
            actions.cancel_consumer(world, connection, number, release=False)
    actions.resume_all(world, first.connection or first.connect())
    actions.remove_schedules(world, first.connection or first.connect())
    actions.keep_queues(world, first.connection or first.connect())
    _settle_down(world)
    _drain(world)
    for client in world.clients:
        if client.connection is not None:
            client.disconnect(lost=False)
    _settle_down(world)
    world.restart()
    _check_empty(world)


def _settle_down(world: World) -> None:
    """Until nothing is left to do but to wait for consumers."""
    world.pump(lambda: world.engine.next_due_ms() is None)
    for client in world.clients[1:]:
        if client.resend and client.connection is not None and client.connection.producer_known:
            client.send_again()
    world.pump(lambda: world.engine.next_due_ms() is None)
    world.shadow.check_none_overdue(world.now_ms)
    world.probe.compare()


def _drain(world: World) -> None:
    """One good consumer of every queue takes and acknowledges everything; then nothing is owed to anyone.

    What is pinned stays for last: it lies scattered over the journal by then, and is cleaned.
    """
    pinned = set(world.options.pinned)
    _drain_all_but(world, pinned)
    world.mark()
    world.pump(lambda: world.engine.next_due_ms() is None)
    _drain_all_but(world, set())


def _drain_all_but(world: World, pinned: set[str]) -> None:
    drainer = world.clients[0]
    rounds_left, fewest = _ROUNDS_MAX, _open_count(world, pinned)
    while rounds_left:
        rounds_left -= 1
        if _open_count(world, pinned) < fewest:  # a rate hands out one by one
            rounds_left, fewest = _ROUNDS_MAX, _open_count(world, pinned)
        connection = drainer.connection or drainer.connect()
        for name in sorted(set(world.shadow.names) - pinned):
            for group in world.shadow.names[name].keepers():
                number = group.number % (1 << 20) + (1 << 20) * (group.number >= EPHEMERAL_NUMBERS_FROM)
                if number not in connection.consumers:
                    connection.consume(number, group, 1000, 1 << 30)
        world.pump(partial(_has_work_or_is_done, world, connection, pinned))
        if connection.tags:
            tags, connection.tags = connection.tags, []
            connection.settle(ACK, [(tag, tag) for tag in tags], 0, "", False)
        elif not _open_count(world, pinned) and (pinned or not any(_owed(client) for client in world.clients)):
            return
    raise Violation("I20", f"{_open_count(world, pinned)} messages are left, owed: {[_owed(c) for c in world.clients]}")


def _has_work_or_is_done(world: World, connection: Connection, pinned: set[str]) -> bool:
    return bool(connection.tags) or not _open_count(world, pinned)


def _open_count(world: World, pinned: set[str]) -> int:
    queues = [queue for queue in world.shadow.queues.values() if queue.name not in pinned]
    return sum(queue.open_count() + len(queue.scheduled) for queue in queues)


def _owed(client: Client) -> str:
    """What a client still waits for."""
    connection = client.connection
    if connection is None:
        return ""
    waiting = [expected for route in connection.expected.values() for expected in route]
    answers = [asked.command for asked in connection.requests.values()]
    return f"confirms {waiting} answers {answers}" if waiting or answers else ""


def _check_empty(world: World) -> None:
    """Nothing is kept for messages that are done (I13)."""
    world.probe.compare()
    queues = world.engine.broker.queues.values()
    groups = [group for queue in world.engine.broker.queues.values() for group in queue.groups.values()]
    kept = {
        "live bytes": world.engine.blocks.live_bytes,
        "leases": world.engine.broker.deadlines.live_count,
        "loads": len(world.engine.loads) + len(world.engine.loading),
        "waiting deliveries": len(world.engine.outbox.waiting_positions()),
        "blocks": sum(queue.log.block_count for queue in world.engine.broker.queues.values()),
        "runs": sum(len(group.outstanding) for group in groups),
        "scheduled": sum(queue.schedule.live_bytes for queue in queues if queue.schedule is not None),
        "timers": len(world.engine.broker.timers.heap),
        "histories": sum(len(group.history) for group in groups),
        "passed": sum(len(group.passed) for group in groups),
    }
    if any(kept.values()):
        raise Violation("I13", f"kept though every message is done: {kept}")
