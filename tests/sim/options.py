"""What one seed's world is like: sizes small enough that everything rolls over, odds that differ from seed to seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from penstock.core.values import EXPIRED_FATES, MODES

QUEUES = ("a", "b", "c", "m", "e")
"""``m`` is the memory queue, ``e`` the ephemeral one; the dead-letter queues appear by themselves."""
SPACE = "s"
INSIDE = "s/q"
IDLE = "s/idle"
"""The one namespace, the queue in it that is used, and one that is declared and deleted."""
EXCHANGES = ("x", "y", "z")
ROUTING_KEYS = ("", "a", "b.c", "a.b.c")
PATTERNS = ("#", "*", "a.#", "#.c", "*.c", "a.*.c", "b.c", "#.b.#")

_DROPPING = {"overflow": "drop_oldest"}
GROUPS = ("", "billing", "audit", "watch")
"""By name, on any queue: the default one, two lasting ones, an ephemeral one."""


@dataclass(frozen=True, slots=True)
class Options:
    """Drawn from the seed."""

    clients: int
    segment_bytes: int
    batch_close_bytes: int
    slice_messages: int
    cache_bytes: int
    snapshot_bytes: int
    reply_bytes_max: int
    publishes: int
    scheduled_odds: float
    recurring: int
    terms_odds: float
    """How often a block's messages ask for times to live or priorities."""
    settles: int
    commit_steps: int
    load_steps: int
    time_steps: int
    crash_odds: float
    sync_failure_odds: float
    full_odds: float
    boundary_crashes: float
    recovery_crash_odds: float
    rot_odds: float
    marks_started: bool
    pinned: tuple[str, ...]
    """Queues that get a message now and then and have no consumer: what cleaning is for."""
    groups: int
    """How often named groups are declared: 0 leaves most seeds to plain queues."""
    transactions: int
    """How often there are transactions."""
    filtered: frozenset[str]
    """Groups that have a selector."""
    modes: dict[str, str]
    on_dead: str
    copies: bool
    """Whether operators copy messages to other queues: then a copy may be without the end of an original."""
    group_rates: dict[str, tuple[float, int]]
    """Messages a second and the burst of the named groups that have a rate."""
    exchange_odds: int
    """Weight of what is done with exchanges; 0: there are none."""
    garbage_segments: int
    """How soon housekeeping cleans."""
    window_messages: int = 80
    insiders: frozenset[int] = frozenset()
    """Numbers of the clients that connect to the namespace."""
    limits: dict[str, int] = field(default_factory=dict)
    """Of the namespace, when it is declared."""
    dead_letters: dict[str, Any] = field(default_factory=dict)
    """Of the dead-letter queues that the broker makes by itself."""
    nacks: int = 14
    """Weight of failures among what becomes of deliveries; 60 are acknowledged."""
    group_breakers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Failures and the wait, in ms, of the named groups that have a breaker."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    exchanges: dict[str, dict[str, Any]] = field(default_factory=dict)

    def deduplicates(self, queue: str) -> bool:
        """True when the messages of this queue are published with ids."""
        return bool(self.settings.get(queue, {}).get("dedup_window_ms"))


def draw_options(rng: random.Random) -> Options:
    """Return a seed's options."""
    options = Options(
        clients=rng.randint(1, 4),
        segment_bytes=rng.choice([300, 300, 1000, 4000, 20_000]),
        batch_close_bytes=rng.choice([150, 600, 4096, 8 * 1024 * 1024]),
        slice_messages=rng.choice([1, 3, 100]),
        cache_bytes=rng.choice([0, 2000, 20_000, 1 << 20]),
        snapshot_bytes=rng.choice([800, 2000, 6000, 30_000]),
        reply_bytes_max=rng.choice([250, 2000, 1 << 20]),
        publishes=rng.choice([15, 30, 60]),
        scheduled_odds=rng.choice([0.0, 0.1, 0.5]),
        recurring=rng.choice([0, 0, 3, 8]),
        terms_odds=rng.choice([0.0, 0.0, 0.2, 0.7]),
        settles=rng.choice([10, 30, 60]),
        commit_steps=rng.choice([20, 50, 100]),
        load_steps=rng.choice([4, 12]),
        time_steps=rng.choice([1, 3, 8]),
        crash_odds=rng.choice([0.0, 0.0, 0.3, 0.8, 1.0]),
        sync_failure_odds=rng.choice([0.0, 0.0, 0.4]),
        full_odds=rng.choice([0.0, 0.0, 0.01]),
        boundary_crashes=rng.choice([0.0, 0.2, 1.0]),
        recovery_crash_odds=rng.choice([0.0, 0.5]),
        rot_odds=rng.choice([0.0, 0.3]),
        pinned=rng.choice([(), (), ("a",), ("a", "c"), ("a", "b"), ("a", "b", "c")]),
        garbage_segments=rng.choice([0, 0, 1]),
        exchange_odds=rng.choice([0, 1, 2, 4]),
        marks_started=rng.random() < 0.5,
        groups=rng.choice([0, 0, 2, 8]),
        on_dead=rng.choice(["skip", "hold"]),
        copies=rng.random() < 0.2,
        transactions=rng.choice([0, 5, 25]),
        modes={name: rng.choice(MODES) for name in GROUPS if name},
        group_rates={
            name: (rng.choice([20.0, 300.0]), rng.choice([1, 8])) for name in GROUPS if name and rng.random() < 0.2
        },
        exchanges={name: _draw_exchange(rng) for name in EXCHANGES},
        filtered=frozenset(name for name in GROUPS if name and rng.random() < 0.4),
        settings={name: _draw_settings(rng, name) for name in (*QUEUES, INSIDE, IDLE)},
        insiders=frozenset(number for number in range(1, 5) if rng.random() < 0.3),
        limits=draw_limits(rng),
        dead_letters=rng.choice([{}, {}, _DROPPING | {"max_messages": 1}, _DROPPING | {"max_messages": 4}]),
        nacks=rng.choice([14, 14, 200]),
        group_breakers={name: _draw_breaker(rng) for name in GROUPS if name and rng.random() < 0.4},
    )
    for name in QUEUES:
        if rng.random() < (0.9 if options.nacks > 14 else 0.2):
            failures, wait_ms = _draw_breaker(rng)
            options.settings[name] |= {"breaker_failures": failures, "breaker_wait_ms": wait_ms}
    return options


def _draw_breaker(rng: random.Random) -> tuple[int, int]:
    return rng.choice([1, 1, 2, 5]), rng.choice([20, 1000, 30_000])


def draw_limits(rng: random.Random) -> dict[str, int]:
    """Return limits of the namespace."""
    return {
        "max_queues": rng.choice([0, 0, 1, 2]),
        "max_connections": rng.choice([0, 0, 1]),
        "max_bytes": rng.choice([0, 0, 1, 400, 3000]),
    }


def _draw_settings(rng: random.Random, name: str) -> dict[str, Any]:
    low = rng.choice([0, 0, 50, 400])
    settings: dict[str, Any] = {
        "lease_ms": rng.choice([300, 1000, 5000, 30_000]),
        "max_failures": rng.choice([0, 1, 1, 2, 3, 5]),
        "backoff_min_ms": low,
        "backoff_max_ms": low * rng.choice([1, 4, 20]),
    }
    if name == "m":
        settings |= {"durable": False, "memory_bytes_max": rng.choice([4096, 8192, 1 << 20])}
    if name in "am" and rng.random() < 0.5:
        settings |= draw_window(rng)
    if name in "bm" and rng.random() < 0.4:
        settings |= {"rate_per_s": rng.choice([2.5, 40.0, 700.0]), "rate_burst": rng.choice([1, 3, 20])}
    settings |= draw_bounds(rng, name)
    if name == "e":
        settings["ephemeral"] = True
    if name in "bme" and rng.random() < 0.5:
        settings["expires_ms"] = rng.choice([1000, 20_000, 100_000])
    if rng.random() < 0.4:
        settings["ttl_ms"] = rng.choice([1, 200, 3000, 60_000])
    settings["on_expired"] = rng.choice(EXPIRED_FATES)
    if name == "c":
        settings["dead_letter"] = rng.choice([None, "graveyard"])
    if name == "b":
        settings["dead_letter"] = rng.choice([None, "graveyard", "a"])
    return settings


def _draw_exchange(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(["direct", "fanout", "fanout", "topic", "topic", "headers", "consistent-hash"])
    settings: dict[str, Any] = {"type": kind, "alternate": rng.choice([None, None, *EXCHANGES])}
    if kind == "consistent-hash":
        settings["hash_by"] = rng.choice(["routing-key", "key", "header"])
        if settings["hash_by"] == "header":
            settings["hash_header"] = "size"
    return settings


def draw_rule(rng: random.Random, kind: str) -> tuple[str, dict[str, Any]]:
    """Return a routing key and arguments for a binding of an exchange of this type."""
    if kind == "topic":
        return rng.choice(PATTERNS), {}
    if kind == "consistent-hash":
        return rng.choice(["1", "2"]), {}
    if kind == "headers":
        return "", rng.choice(
            [
                {"shape": "round"},
                {"x-match": "any", "shape": "square", "size": 1},
                {"x-match": "all", "size": None, "shape": "round", "x-note": "not compared"},
                {"size": True},
            ]
        )
    return rng.choice(ROUTING_KEYS), {}


def draw_window(rng: random.Random) -> dict[str, Any]:
    """Return for how long and how many message ids are looked at."""
    return {
        "dedup_window_ms": rng.choice([100, 5000, 40_000, 1 << 31]),
        "dedup_count_max": rng.choice([1, 5, 20, 100_000]),
    }


def draw_bounds(rng: random.Random, name: str) -> dict[str, Any]:
    """Return bounds for a queue of this name, in time or in number."""
    bounds: dict[str, Any] = {}
    if rng.random() < 0.2:
        bounds["max_age_ms"] = rng.choice([1000, 20_000, 100_000])
    if name in ("c", INSIDE, IDLE) or rng.random() < 0.5:
        return bounds
    overflow = rng.choice(["backpressure", "reject", "drop_newest", "drop_oldest"])
    bounds |= {"max_messages": rng.choice([1, 4, 12]), "overflow": overflow}
    if overflow in ("drop_newest", "drop_oldest"):
        bounds["overflow_dead_letter"] = rng.random() < 0.5
    return bounds
