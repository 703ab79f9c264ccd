"""What may happen next: commands of clients, steps of the broker, time, and bad luck. Each is drawn by weight."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tests.sim import exchange_actions
from tests.sim.bodies import SELECTOR, block_of
from tests.sim.client import Asked, Asks, Client, Connection
from tests.sim.mail import reply_block
from tests.sim.namespaces import refusal_of_deletion, refusal_of_queue
from tests.sim.options import GROUPS, IDLE, INSIDE, QUEUES, SPACE, Options, draw_bounds, draw_limits, draw_window
from tests.sim.state import Place, ShadowGroup, ShadowQueue
from tests.sim.terms import draw_terms
from tests.sim.transacting import refusal
from tests.sim.world import World

from penstock.core.groupstate import ANY_VERSION
from penstock.core.recurring import MISSED
from penstock.core.transacting import StateWrite, TransactedBlock, Transaction
from penstock.core.values import (
    ACK,
    EXPIRED_FATES,
    EXTEND,
    NACK,
    NO_DELAY,
    REJECT,
    RELEASE,
    REQUEUE,
    STARTED,
    SYNCED,
    WRITTEN,
    parse_settings,
)
from penstock.engine.interface import ReplyIn
from penstock.selectors import parse_selector

Action = Callable[[World], None]
_INSIDE = (INSIDE, f"{INSIDE}.dead", IDLE)
_TARGETS = (*QUEUES, *_INSIDE, "a.dead", "b.dead", "c.dead", "m.dead", "e.dead", "graveyard", "nowhere")
_CONSUMERS_MAX = 4
_SCHEDULES = ("tick", "tock")
_SELECTORS = (parse_selector("JMSTimestamp > 0 AND a IS NULL"), parse_selector("a = 1"))
"""One that selects every message of the simulator, and one that selects none."""


def table(options: Options) -> tuple[list[Action], list[int]]:
    """Return the actions with their weights for one seed."""
    weights: dict[Action, int] = {
        publish: options.publishes,
        publish_again: 2,
        settle: options.settles,
        consume: 8,
        flow: 2,
        cancel: 1,
        declare: 1,
        purge: 2,
        schedule_add: options.recurring,
        schedule_pause: options.recurring,
        schedule_remove: options.recurring // 2,
        cancel_scheduled: 4 if options.scheduled_odds else 0,
        peek_scheduled: 2 if options.scheduled_odds else 0,
        delete: 1,
        redrive: 2,
        peek: 2,
        find: 2,
        describe: 2,
        revoke: 2,
        transfer: 3,
        alter: 1,
        administer: 2,
        close_consumer: 1,
        pause: 1,
        open_reply_box: 3,
        answer: 10,
        read_replies: 4,
        connect: 8,
        disconnect: 2,
        turn: 30,
        commit: options.commit_steps,
        load: options.load_steps,
        let_time_pass: options.time_steps,
        housekeep: 40,
        mark: 5,
        find_room: 3,
        expire_producers: 1,
        compare: 10,
    }
    if options.groups:
        weights |= {declare_group: options.groups, delete_group: 1, alter_group: 2}
    if options.transactions:
        weights[transact] = options.transactions
    if options.crash_odds:
        weights |= {crash: 1, restart: 1}
    if options.exchange_odds:
        weights |= {
            exchange_actions.publish_through: options.publishes * options.exchange_odds,
            exchange_actions.bind: 4 * options.exchange_odds,
            exchange_actions.unbind: options.exchange_odds,
            exchange_actions.declare: options.exchange_odds,
            exchange_actions.delete: 1,
        }
    return list(weights), list(weights.values())


# -- the broker's own steps --------------------------------------------------------------------------------------------


def turn(world: World) -> None:
    world.turn()


def commit(world: World) -> None:
    world.commit_step()


def load(world: World) -> None:
    world.load_step()


def housekeep(world: World) -> None:
    world.house_step()


def find_room(world: World) -> None:
    world.find_room()


def mark(world: World) -> None:
    world.mark()


def let_time_pass(world: World) -> None:
    world.now_ms += world.rng.choice([1, 10, 100, 500, 1000, 5000, 40_000])


def expire_producers(world: World) -> None:
    if world.rng.random() < 0.1 and not world.shadow.recurring:  # they would fire ten thousand times
        world.now_ms += world.engine.limits.producer_idle_ms + 1
        world.trace("producers expire")
    world.engine.expire_idle_producers()


def compare(world: World) -> None:
    world.probe.compare()


def crash(world: World) -> None:
    if world.rng.random() < world.options.boundary_crashes:
        world.crash("at a message boundary", world.draw_loss())


def restart(world: World) -> None:
    if world.rng.random() < 0.1:
        world.restart()


# -- connections -------------------------------------------------------------------------------------------------------


def connect(world: World) -> None:
    client = world.rng.choice(world.clients[1:])
    if client.connection is None:
        client.try_to_connect()


def disconnect(world: World) -> None:
    connection = _connection(world)
    if connection is not None:
        connection.client.disconnect(lost=world.rng.random() < 0.7)


def _connection(world: World) -> Connection | None:
    return world.rng.choice(world.clients[1:]).connection


def _outside(world: World) -> Connection | None:
    """A connection to the root."""
    connection = _connection(world)
    return None if connection is None or connection.client.space else connection


def _pick(world: World, names: Sequence[str]) -> tuple[Connection | None, ShadowQueue | None]:
    """A connection, and a queue that it may know of."""
    connection = _connection(world)
    if connection is not None and connection.client.space:
        names = _INSIDE
    return connection, world.shadow.names.get(world.rng.choice(names))


# -- publishing --------------------------------------------------------------------------------------------------------


def publish(world: World) -> None:
    client = world.rng.choice(world.clients[1:])
    if not _may_publish(client):
        return
    rng, connection = world.rng, client.connection
    assert connection is not None
    if client.resend:
        client.send_again()
        return
    if sum(len(sent.uids) for sent in client.unconfirmed) > world.options.window_messages:
        return
    queues = [INSIDE] if client.space else rng.sample((*QUEUES, INSIDE), rng.choice([1, 1, 1, 2, 3]))
    queues = [name for name in queues if name not in world.options.pinned or rng.random() < 0.1]
    if rng.random() < 0.9:
        for name in queues:
            world.ensure_declared(connection, name)
    counts = [rng.choice([1, 1, 2, 5, 9]) for _ in queues]
    client.send_new(queues, rng.choice([SYNCED, SYNCED, WRITTEN]), counts, partial(_draw_asks, world))


def _draw_asks(world: World, count: int) -> Asks | None:
    """What a block's messages ask: to be delivered later, mostly all at the same time; a time to live; a priority."""
    later, terms = _draw_times(world, count), draw_terms(world.rng, world.options.terms_odds, count)
    if later is None or terms is None:
        return later or terms
    return [{**(time or {}), **(term or {})} or None for time, term in zip(later, terms, strict=True)]


def _draw_times(world: World, count: int) -> Asks | None:
    rng = world.rng
    if rng.random() >= world.options.scheduled_odds:
        return None
    if rng.random() < 0.7:
        return [_draw_ask(world)] * count
    return [_draw_ask(world) if rng.random() < 0.8 else None for _ in range(count)]


def _draw_ask(world: World) -> dict[str, Any]:
    delay_ms = world.rng.choice([0, 1, 60, 64, 700, 5000, 5000, 60_000, 3_600_000, 864_000_000])
    kind = world.rng.random()
    if kind < 0.5:
        return {"delay_ms": delay_ms}
    if kind < 0.98:
        return {"deliver_at_ms": world.now_ms + delay_ms - world.rng.choice([0, 0, 1, 100])}
    return {"delay_ms": world.rng.choice([-1, "soon", 1 << 50])}


def publish_again(world: World) -> None:
    client = world.rng.choice(world.clients[1:])
    if _may_publish(client) and not client.resend and client.connection is not None:
        known = [*client.unconfirmed, *client.recent]
        if known:
            client.connection.publish([world.rng.choice(known)])


def _may_publish(client: Client) -> bool:
    return client.connection is not None and client.connection.producer_known


# -- consuming ---------------------------------------------------------------------------------------------------------


def consume(world: World) -> None:
    connection = _connection(world)
    if connection is None or len(connection.consumers) >= _CONSUMERS_MAX:
        return
    rng = world.rng
    number = next(n for n in range(1, 99) if n not in connection.consumers)
    queue = world.shadow.names.get(rng.choice(_INSIDE if connection.client.space else _TARGETS))
    if queue is not None and queue.name in world.options.pinned:
        return
    group = _draw_group(world, queue) if queue is not None else None
    priority, exclusive = rng.choice([0, 0, 0, 1, -5]), rng.random() < 0.05
    credit = rng.choice([1, 2, 5, 20]), rng.choice([1, 200, 3000, 1 << 20])
    choosy = group is not None and group.settings.mode == "shared" and rng.random() < 0.25
    connection.consume(number, group, *credit, priority, exclusive, choosy)


def _draw_group(world: World, queue: ShadowQueue) -> ShadowGroup:
    """One of its groups; the default one has to be used to be declared."""
    return world.rng.choice([queue.groups[number] for number in sorted(queue.groups)])


def flow(world: World) -> None:
    connection = _connection(world)
    if connection is None or not connection.consumers:
        return
    rng, number = world.rng, world.rng.choice(connection.consumers)
    messages, size_bytes = rng.choice([0, 1, 3, 30]), rng.choice([0, 300, 1 << 20])
    if connection.request("flow", consumer=number, prefetch_messages=messages, prefetch_bytes=size_bytes):
        consumer = world.shadow.sessions[connection.session].consumers[number]
        consumer.prefetch_messages, consumer.prefetch_bytes = messages, size_bytes


def cancel(world: World) -> None:
    connection = _connection(world)
    if connection is not None and connection.consumers:
        cancel_consumer(world, connection, world.rng.choice(connection.consumers), world.rng.random() < 0.5)


def cancel_consumer(world: World, connection: Connection, number: int, release: bool) -> None:
    """Cancel one consumer, in both."""
    world.probe.leave(connection.session, number)
    if connection.request("cancel", consumer=number, release=release):
        world.probe.leaving = False
        if number in connection.consumers:  # a group that ended with it was heard of before
            connection.consumers.remove(number)
        world.shadow.cancel(connection.session, number, release)


def settle(world: World) -> None:
    connection = _connection(world)
    if connection is None:
        return
    rng = world.rng
    tags = _draw_tags(rng, connection)
    if not tags:
        return
    outcomes = [ACK, NACK, RELEASE, REJECT, EXTEND, STARTED, REQUEUE]
    outcome = rng.choices(outcomes, [60, world.options.nacks, 6, 10, 6, 10, 5])[0]
    if outcome == STARTED and not world.options.marks_started:
        outcome = ACK
    duration_ms = 0
    if outcome == NACK:
        duration_ms = rng.choice([NO_DELAY, NO_DELAY, 0, 200, 2000])
    elif outcome == RELEASE:
        duration_ms = rng.choice([0, 0, 300])
    elif outcome == EXTEND:
        duration_ms = rng.choice([0, 500, 5000, 60_000])
    ranges = _as_ranges(tags)
    if outcome not in (EXTEND, STARTED):
        gone = set(tags)
        connection.tags = [tag for tag in connection.tags if tag not in gone]
        connection.old_tags += tags
    connection.settle(outcome, ranges, duration_ms, f"reason {rng.randrange(3)}", rng.random() < 0.3)


def _draw_tags(rng: random.Random, connection: Connection) -> list[int]:
    """Some of the tags that were delivered; now and then some that were settled before, or never given."""
    known = connection.tags
    if not known or rng.random() < 0.08:
        known = [*connection.old_tags, *connection.tags, rng.randint(1, 500)]
    kind = rng.random()
    if kind < 0.3:
        return sorted(known)
    if kind < 0.7:
        start = rng.randrange(len(known))
        return sorted(known[start : start + rng.randint(1, 6)])
    return sorted(rng.sample(known, min(len(known), rng.randint(1, 4))))


def _as_ranges(tags: list[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for tag in dict.fromkeys(tags):
        if ranges and ranges[-1][1] + 1 == tag:
            ranges[-1] = (ranges[-1][0], tag)
        else:
            ranges.append((tag, tag))
    return ranges


# -- replies -----------------------------------------------------------------------------------------------------------


def open_reply_box(world: World) -> None:
    connection = _connection(world)
    if connection is not None:
        wanted = {"address": connection.address} if connection.address else {}
        world.probe.mail.asked(connection.session)
        connection.ask(Asked("reply_open", -1, wanted), {})


def answer(world: World) -> None:
    connection = _connection(world)
    if connection is None:
        return
    rng = world.rng
    known = [*connection.client.asked, *world.probe.mail.boxes]
    entries = []
    for _ in range(rng.choice([1, 1, 2, 5])):
        address = (
            rng.choice(known) if known and rng.random() < 0.95 else rng.choice(["jobs", "$reply.1.", "$reply.0.1"])
        )
        numbers = [world.next_request() for _ in range(rng.choice([1, 1, 3]))]
        block = reply_block(address, numbers, rng.choice([0, 50, 400]))
        entries.append(ReplyIn(address, len(numbers), block, "bad-block" if rng.random() < 0.05 else ""))
    connection.answer(entries, rng.random() < 0.7)


def read_replies(world: World) -> None:
    connection = _connection(world)
    if connection is not None:
        world.probe.mail.read(connection.session, world.rng.choice([1, 3, 100]))


# -- transactions ------------------------------------------------------------------------------------------------------


def transact(world: World) -> None:
    """Publish here, acknowledge there and set state, together; now and then with something that forbids it."""
    connection, rng = _connection(world), world.rng
    if connection is None:
        return
    tags = _draw_tags(rng, connection) if rng.random() < (0.8 if connection.tags else 0.05) else []
    inside = [INSIDE] if rng.random() < 0.7 else []
    names = inside if connection.client.space else rng.sample((*QUEUES[:3], INSIDE), rng.choice([0, 1, 2, 3]))
    if rng.random() < 0.05:
        names.append("nowhere" if connection.client.space else rng.choice(["m", "nowhere"]))
    names = [name for name in names if name not in world.options.pinned or rng.random() < 0.1]
    blocks = [_draw_block(world, name) for name in names if name in world.shadow.names or name == "nowhere"]
    transaction = Transaction(
        _as_ranges(tags), blocks, _draw_writes(world, _INSIDE if connection.client.space else _TARGETS)
    )
    if not refusal(world.shadow, connection.session, transaction):
        gone = set(tags)
        connection.tags = [tag for tag in connection.tags if tag not in gone]
        connection.old_tags += tags
    connection.transact(transaction)


def _draw_block(world: World, name: str) -> TransactedBlock:
    count = world.rng.choice([1, 1, 2, 5])
    known = name in world.options.settings
    uids = world.draw_uids(name, count) if known else world.new_uids(count)
    return "", name, count, block_of(uids, known and world.options.deduplicates(name))


def _draw_writes(world: World, names: Sequence[str]) -> list[StateWrite]:
    """Values for a group or two: some of what is there, some of what is not, some read too long ago."""
    rng = world.rng
    writes: dict[tuple[int, str], StateWrite] = {}
    for _ in range(rng.choice([0, 0, 1, 1, 3])):
        queue = world.shadow.names.get(rng.choice(names))
        if queue is not None:
            group, key = _draw_group(world, queue), rng.choice(["seen", "total"])
            version = group.state.get(key, (0, b""))[0]
            expected = rng.choices([version, ANY_VERSION, version + 1, max(0, version - 1)], [80, 15, 3, 2])[0]
            value = rng.choice([b"", bytes((rng.randrange(128),))])
            writes[group.number, key] = (queue.name, group.name, key, expected, value)
    return list(writes.values())


# -- queues ------------------------------------------------------------------------------------------------------------


def declare(world: World) -> None:
    connection = _connection(world)
    if connection is None:
        return
    name = world.rng.choice((INSIDE, IDLE) if connection.client.space else (*QUEUES, INSIDE, IDLE))
    settings = dict(world.options.settings[name])
    asked = Asked("queue_declare", -1, {"created": name not in world.shadow.names})
    if name not in world.shadow.names:
        asked.code = refusal_of_queue(world.shadow, name)
    if world.rng.random() < 0.2:
        settings["max_failures"] += 1 if name in world.shadow.names else 0
    if name in world.shadow.names and world.shadow.names[name].settings != parse_settings(settings):
        asked.code = "settings-differ"
    connection.declare(asked, name, settings)


def purge(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None or world.rng.random() < 0.5:
        return
    name = world.rng.choice([None, "", "billing"])
    named = [group for group in queue.groups.values() if group.name == name]
    places = (Place.READY, Place.DELAYED, Place.TAIL)
    wanted = sum(group.count(place) for group in (queue.keepers() if name is None else named) for place in places)
    code = "" if named or name is None else "unknown-group"
    scheduled = world.rng.random() < 0.3
    cancelled = len(queue.scheduled) if scheduled else 0
    world.probe.cuts.purging = True
    asked = Asked("queue_purge", -1, {"purged": wanted, "cancelled": cancelled}, code)
    connection.ask(asked, {"queue": queue.name, "group": name, "scheduled": scheduled})
    world.probe.cuts.purging = False


def cancel_scheduled(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None:
        return
    if not queue.scheduled or world.rng.random() < 0.1:
        number = world.rng.randint(0, queue.next_id + 1)
    else:
        number = world.rng.choice(sorted(queue.scheduled))
    code = "" if number in queue.scheduled else "not-scheduled"
    world.probe.cuts.asked.add((queue.number, number))
    connection.ask(Asked("scheduled_cancel", -1, code=code, may_refuse=True), {"queue": queue.name, "id": number})


def peek_scheduled(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None:
        return
    first, count = world.rng.randint(0, queue.next_id + 1), world.rng.choice([1, 5, 100])
    asked = Asked("scheduled_peek", -1, queue=queue.number)
    connection.ask(asked, {"queue": queue.name, "first": first, "count": count})


def schedule_add(world: World) -> None:
    connection, queue = _outside(world), world.shadow.names.get(world.rng.choice(QUEUES))
    name = world.rng.choice(_SCHEDULES)
    taken = [one.definition.name for one in world.shadow.recurring.values()]
    if connection is None or queue is None or name in taken or queue.name in world.options.pinned:
        return
    uids = world.new_uids(1)
    world.history.resent[uids[0]] = None
    block = block_of(uids, world.options.deduplicates(queue.name))
    cron, missed = world.rng.choice(["*/10 * * * * *", "* * * * *"]), world.rng.choice(MISSED)
    arguments = {"name": name, "cron": cron, "queue": queue.name, "block": block, "missed": missed}
    connection.ask(Asked("schedule_add", -1, {"created": True}), arguments)


def schedule_pause(world: World) -> None:
    connection = _outside(world)
    if connection is not None and world.shadow.recurring:
        number = world.rng.choice(sorted(world.shadow.recurring))
        paused, name = world.rng.random() < 0.4, world.shadow.recurring[number].definition.name
        connection.ask(Asked("schedule_pause", -1, {"paused": paused}), {"name": name, "paused": paused})


def schedule_remove(world: World) -> None:
    connection, name = _outside(world), world.rng.choice(_SCHEDULES)
    if connection is not None:
        known = [one.definition.name for one in world.shadow.recurring.values()]
        connection.ask(Asked("schedule_remove", -1, code="" if name in known else "unknown-schedule"), {"name": name})


def remove_schedules(world: World, connection: Connection) -> None:
    """So that nothing fires any more."""
    for one in list(world.shadow.recurring.values()):
        connection.request("schedule_remove", name=one.definition.name)


def keep_queues(world: World, connection: Connection) -> None:
    """So that none ends for want of use any more."""
    for queue in list(world.shadow.queues.values()):
        connection.alter(queue, {"expires_ms": 0})


def administer(world: World) -> None:
    """Declare the namespace, give it other limits, or take it away."""
    connection, shadow = _outside(world), world.shadow
    if connection is None:
        return
    if SPACE not in shadow.namespaces or world.rng.random() < 0.2:
        asked = Asked("namespace_delete", -1, code=refusal_of_deletion(shadow))
        if not connection.ask(asked, {"namespace": SPACE}) and world.rng.random() < 0.8:
            connection.request("namespace_declare", namespace=SPACE, **world.options.limits)
    else:
        connection.ask(Asked("namespace_alter", -1), {"namespace": SPACE, **draw_limits(world.rng)})


def open_namespace(world: World, connection: Connection) -> None:
    """Let everyone in, and everything."""
    if SPACE not in world.shadow.namespaces:
        connection.request("namespace_declare", namespace=SPACE)
    connection.request("namespace_alter", namespace=SPACE, max_queues=0, max_connections=0, max_bytes=0)


def delete(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None or world.rng.random() < 0.5:
        return
    count = queue.open_count() + len(queue.scheduled)
    asked = Asked("queue_delete", -1, {"deleted": count})
    if_empty = world.rng.random() < 0.5
    if if_empty and count:
        asked.code = "queue-not-empty"
    world.probe.deleting = True
    connection.ask(asked, {"queue": queue.name, "if_empty": if_empty})
    world.probe.deleting = False


def redrive(world: World) -> None:
    connection = _connection(world)
    if connection is not None:
        queue = world.rng.choice(_INSIDE if connection.client.space else _TARGETS)
        connection.request("queue_redrive", queue=queue, limit=world.rng.choice([0, 0, 1, 3]))


def peek(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None:
        return
    offset = queue.first_offset + world.rng.randint(0, queue.next_offset - queue.first_offset + 2)
    asked = Asked("peek", -1, queue=queue.number)
    group = _draw_group(world, queue).name
    arguments = {"queue": queue.name, "group": group, "offset": offset, "count": world.rng.choice([1, 5, 100])}
    connection.ask(asked, arguments)


def find(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None:
        return
    arguments: dict[str, Any] = {
        "queue": queue.name,
        "state": world.rng.choice([None, None, "ready", "leased", "scheduled"]),
        "text": world.rng.choice([b"", b"1", b"1|"]),
        "where": world.rng.choice([None, *_SELECTORS]),
        "offset": queue.first_offset + world.rng.randint(0, queue.next_offset - queue.first_offset + 2),
        "count": world.rng.choice([1, 5, 100]),
    }
    connection.ask(Asked("find", -1, queue=queue.number, sent=arguments), arguments)


def describe(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None:
        return
    world.probe.adopt()
    counts = {
        "messages": queue.open_count(),
        "leased": sum(group.count(Place.LEASED) for group in queue.keepers()),
        "acked": sum(group.acked for group in queue.groups.values()),
    }
    oldest = queue.stored.get(min(queue.needed(), default=-1))
    sent = {"entered_ms": oldest and oldest.time_ms, "asked_ms": world.now_ms, "exact": not queue.released}
    connection.ask(Asked("queue_describe", -1, counts, sent=sent), {"queue": queue.name})


def alter(world: World) -> None:
    connection, queue = _pick(world, QUEUES)
    if connection is None or queue is None:
        return
    lease_ms, max_failures = world.rng.choice([300, 1000, 5000]), world.rng.choice([0, 1, 2, 5])
    changes: dict[str, Any] = {"lease_ms": lease_ms, "max_failures": max_failures}
    if world.rng.random() < 0.2:
        changes["expires_ms"] = world.rng.choice([0, 1000, 20_000])
    if world.rng.random() < 0.3:
        changes |= draw_bounds(world.rng, queue.name)
    if world.rng.random() < 0.3 and world.options.deduplicates(queue.name):
        changes |= draw_window(world.rng) if world.rng.random() < 0.7 else {"dedup_window_ms": 0}
    if world.rng.random() < 0.5:
        changes["ttl_ms"] = world.rng.choice([0, 200, 5000])
        changes |= {"on_expired": world.rng.choice(EXPIRED_FATES), "priority_max": world.rng.choice([9, 255])}
    connection.alter(queue, changes)


def alter_group(world: World) -> None:
    """Give a group another selector, or take it away."""
    connection, queue = _connection(world), world.shadow.names.get(world.rng.choice(_TARGETS))
    if connection is not None and queue is not None and (group := _draw_group(world, queue)).name:
        where = world.rng.choice([SELECTOR, None])
        connection.request("group_alter", queue=queue.name, group=group.name, where=where)


def transfer(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None:
        return
    rng, group = world.rng, _draw_group(world, queue)
    known = list(group.messages) or [0]
    offsets = sorted({rng.choice(known) if rng.random() < 0.9 else rng.randrange(99) for _ in range(rng.randint(1, 4))})
    action = rng.choice(["cancel", "move", "redrive", "copy" if world.options.copies else "redrive"])
    arguments = {"queue": queue.name, "group": group.name, "action": action, "offsets": offsets}
    if action in ("move", "copy"):
        arguments["target"] = rng.choice(["s/q.dead"] if connection.client.space else ["a", "c", "graveyard", INSIDE])
        world.history.copying = world.history.copying or action == "copy"
    connection.request("transfer", **arguments)


def revoke(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None:
        return
    group = _draw_group(world, queue)
    leased = [message.offset for message in group.messages.values() if message.place is Place.LEASED]
    offset = world.rng.choice(leased) if leased and world.rng.random() < 0.9 else world.rng.randrange(99)
    held = world.shadow.holder(group, offset)
    asked = Asked("lease_revoke", -1, {"holder": held.consumer.name} if held else {}, "" if held else "not-leased")
    failed = world.rng.random() < 0.5
    world.probe.settling = True
    connection.ask(asked, {"queue": queue.name, "group": group.name, "offset": offset, "failed": failed})
    world.probe.settling = False
    if held is not None:
        world.shadow.revoke(held, failed, world.now_ms)
    world.probe.adopt()


def close_consumer(world: World) -> None:
    connection, target = _outside(world), _connection(world)
    if connection is None or target is None or not target.consumers:
        return
    number = world.rng.choice(target.consumers)
    consumer = world.shadow.sessions[target.session].consumers.get(number)
    asked = Asked("consumer_close", -1, {"released": consumer.leased_messages if consumer else 0})
    if consumer is None:
        asked.code = "unknown-consumer"
    if consumer is not None:
        world.probe.leave(target.session, number)
    if connection.ask(asked, {"session": target.session, "consumer": number}):
        world.probe.leaving = False
        world.shadow.close_consumer(target.session, number)  # its client hears of it with the next turn


# -- groups ------------------------------------------------------------------------------------------------------------


def declare_group(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is None or queue is None:
        return
    rng, name = world.rng, world.rng.choice(GROUPS)
    settings: dict[str, Any] = {"mode": world.options.modes[name], "ephemeral": name == "watch"} if name else {}
    if name in ("billing", "audit") and settings["mode"] != "shared":
        settings["on_dead"] = world.options.on_dead
    if name in world.options.group_rates:
        settings["rate_per_s"], settings["rate_burst"] = world.options.group_rates[name]
    if name in world.options.group_breakers:
        settings["breaker_failures"], settings["breaker_wait_ms"] = world.options.group_breakers[name]
    if name in world.options.filtered:
        settings["where"] = SELECTOR
    known = next((group for group in queue.groups.values() if group.name == name and group.declared), None)
    if known is not None:
        settings["where"] = SELECTOR if known.settings.where else None
    asked = Asked("group_declare", -1, {"created": known is None})
    if known is not None and rng.random() < 0.1:
        settings = {"mode": known.settings.mode, "ephemeral": not known.settings.ephemeral}
        asked.code = "settings-differ"
    elif known is None and name and not queue.settings.durable and not settings["ephemeral"]:
        asked.code = "bad-setting"
    at = rng.choice([0, queue.next_offset, rng.randint(0, queue.next_offset + 2)])
    start = {0: "earliest", queue.next_offset: "latest"}.get(at, at)
    low = queue.durable_low_offset()
    if not name:
        low = max(low, queue.groups[queue.default].cursor)
    if known is None and not asked.code and not settings.get("ephemeral") and not queue.lasting():
        asked.code = "queue-not-empty" if min(at, queue.next_offset) > low else ""
    arguments = {"queue": queue.name, "group": name, "start": start, **settings}
    if known is None and rng.random() < 0.1:
        del arguments["start"]
        asked = Asked("group_declare", -1)  # it is declared when the offset was found: much may have happened by then
        arguments["start_ms"] = world.now_ms - rng.choice([0, 5, 500, 100_000])
    connection.ask(asked, arguments)


def delete_group(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is not None and queue is not None and world.rng.random() < 0.5:
        group = _draw_group(world, queue)
        asked = Asked("group_delete", -1, {"deleted": len(group.messages)})
        queue.used_ms = world.now_ms
        connection.ask(asked, {"queue": queue.name, "group": group.name})


def pause(world: World) -> None:
    connection, queue = _pick(world, _TARGETS)
    if connection is not None and queue is not None:
        _pause(world, connection, queue, world.rng.choice([None, _draw_group(world, queue).name]), 0.3)


def _pause(world: World, connection: Connection, queue: ShadowQueue, group: str | None, odds: float) -> None:
    """Pause it with these odds, else let it go on, which closes breakers."""
    paused = world.rng.random() < odds
    connection.request("queue_pause", queue=queue.name, group=group, paused=paused)
    if not paused:
        world.shadow.close_breakers(queue, group)


def resume_all(world: World, connection: Connection) -> None:
    """Let every queue and group go on."""
    for queue in list(world.shadow.queues.values()):
        _pause(world, connection, queue, None, 0)
        for group in list(queue.groups.values()):
            _pause(world, connection, queue, group.name, 0)
