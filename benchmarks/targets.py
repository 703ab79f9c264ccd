"""The seven targets: what was to be reached, what was, and whether that meets it."""

from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.results import MACHINE, Results
from benchmarks.systems import SYSTEMS

PUBLISH_TIMES_BEST_PEER = 15.0
CONSUME_TIMES_BEST_PEER = 12.0
CPU_SECONDS_PER_MILLION_MAX = 1.2
AWAITING_CONSUME_MIN = 150_000.0
CONFIRM_OVER_DISK_MS_MAX = 0.3
MEMORY_LATENCY_MS_MAX = 0.4
BACKLOG_RSS_MB_MAX = 300.0
BACKLOG_DRAIN_SHARE_MIN = 0.6
BACKLOG_RESTART_S_MAX = 5.0
SPREAD_TIMES_BEST_PEER = 2.0
IDLE_QUEUE_BYTES_MAX = 4096.0
BESIDE_FULL_QUEUE_SHARE_MIN = 90.0

_PENSTOCK = "penstock"
_PEERS = [name for name in SYSTEMS if name != _PENSTOCK]
_SYNCED_PEERS = [name for name in _PEERS if SYSTEMS[name].synced]


class Row(NamedTuple):
    """One line of the targets table. ``ratio`` is reached to allowed, such that 1.0 or more meets the target."""

    number: str
    target: str
    reached: str = "not measured"
    ratio: float | None = None

    @property
    def met(self) -> bool | None:
        """True when the target was reached, None when it was not measured."""
        return None if self.ratio is None else self.ratio >= 1.0


@dataclass(frozen=True, slots=True)
class _Judge:
    results: Results

    def times_best(self, number: str, what: str, measure: str, peers: list[str], times: float) -> Row:
        """At least ``times`` the best peer, by the same measure."""
        target = f"{what}: at least {times:g} x the best {_of(peers)}"
        ours, best = self.results.median(_PENSTOCK, measure), self.results.best(peers, measure)
        if ours is None or best is None:
            return Row(number, target)
        name, theirs = best
        reached = f"{ours:,.0f}/s, {ours / theirs:.1f} x {name} ({theirs:,.0f}/s)"
        return Row(number, target, reached, ours / theirs / times)

    def at_least(self, number: str, what: str, measure: str, low: float, form: str) -> Row:
        """A floor for one of Penstock's figures."""
        target = f"{what}: at least {form.format(low)}"
        ours = self.results.median(_PENSTOCK, measure)
        if ours is None:
            return Row(number, target)
        return Row(number, target, form.format(ours), ours / low)

    def at_most(self, number: str, what: str, measure: str, high: float, form: str) -> Row:
        """A ceiling for one of Penstock's figures."""
        target = f"{what}: at most {form.format(high)}"
        ours = self.results.median(_PENSTOCK, measure)
        if ours is None:
            return Row(number, target)
        return Row(number, target, form.format(ours), high / max(ours, 1e-9))

    def confirm(self, number: str) -> Row:
        """One message at a time beside the machine's own append and fdatasync."""
        target = f"one message at a time, p50 confirm: at most write + fdatasync + {CONFIRM_OVER_DISK_MS_MAX} ms"
        ours = self.results.median(_PENSTOCK, "client_confirm_p50_ms")
        disk = self.results.median(MACHINE, "append_sync_ms")
        if ours is None or disk is None:
            return Row(number, target)
        allowed = disk + CONFIRM_OVER_DISK_MS_MAX
        reached = f"{ours:.3f} ms; disk {disk:.3f} ms, so {allowed:.3f} ms allowed"
        return Row(number, target, reached, allowed / ours)

    def drain(self, number: str) -> Row:
        """Draining a backlog beside consuming without one."""
        drain = self.results.median(_PENSTOCK, "backlog_drain")
        reference = self.results.median(_PENSTOCK, "backlog_reference_consume")
        target = f"draining it: at least {BACKLOG_DRAIN_SHARE_MIN:.0%} of the rate without a backlog"
        if drain is None or reference is None:
            return Row(number, target)
        share = drain / reference
        reached = f"{drain:,.0f}/s, {share:.0%} of {reference:,.0f}/s"
        return Row(number, target, reached, share / BACKLOG_DRAIN_SHARE_MIN)

    def connections(self, number: str) -> Row:
        """Many connections beside the best synced peer."""
        return self.times_best(
            number, "500 connections, one message each in flight", "connections_publish", _SYNCED_PEERS, 1.0
        )


def _of(peers: list[str]) -> str:
    return "peer" if peers == _PEERS else "synced peer"


def remarks(results: Results) -> list[str]:
    """Return what must be said beside the targets so that they are not read for more than they say."""
    ours, callback = results.median(_PENSTOCK, "client_consume"), results.best(_PEERS, "callback_consume")
    if ours is None or callback is None:
        return []
    name, theirs = callback
    remark = (
        "Consume is compared with what NATS recommends for work queues, pull by fetch. The push callback of nats-py,"
        f" on {name}, reaches {theirs:,.0f}/s; Penstock's consume is {ours / theirs:.1f} x that."
    )
    return [remark]


def judge(results: Results) -> list[Row]:
    """Return a row for every target, measured or not."""
    by = _Judge(results)
    messages, queues = (results.median(_PENSTOCK, measure) for measure in ("backlog_messages", "idle_queues"))
    backlog = f"backlog of {messages:,.0f} x 200 B" if messages else "backlog"
    idle = f"an idle queue ({queues:,.0f} declared)" if queues else "an idle queue"
    spread = "messages at random over many queues"
    return [
        by.times_best("1", "publish, SDK", "client_publish", _PEERS, PUBLISH_TIMES_BEST_PEER),
        by.times_best("1", "consume, SDK", "client_consume", _PEERS, CONSUME_TIMES_BEST_PEER),
        by.times_best("1", "publish while consuming", "client_both_publish", _PEERS, PUBLISH_TIMES_BEST_PEER),
        by.times_best("1", "consume while publishing", "client_both_consume", _PEERS, CONSUME_TIMES_BEST_PEER),
        by.at_most("2", "broker CPU a million messages", "client_cpu", CPU_SECONDS_PER_MILLION_MAX, "{:.2f} s"),
        by.at_least("2", "handler that awaits", "awaiting_consume", AWAITING_CONSUME_MIN, "{:,.0f}/s"),
        by.confirm("3"),
        by.at_most("3", "in memory, p50 latency", "memory_latency_p50_ms", MEMORY_LATENCY_MS_MAX, "{:.3f} ms"),
        by.connections("4"),
        by.at_most("5", f"{backlog}, RSS", "backlog_rss_mb", BACKLOG_RSS_MB_MAX, "{:,.0f} MB"),
        by.drain("5"),
        by.at_most("5", "restart with it", "backlog_restart_s", BACKLOG_RESTART_S_MAX, "{:.2f} s"),
        by.times_best("6", f"{spread}, SDK", "client_spread", _SYNCED_PEERS, SPREAD_TIMES_BEST_PEER),
        by.times_best("6", f"{spread}, raw", "raw_spread", _SYNCED_PEERS, SPREAD_TIMES_BEST_PEER),
        by.at_most("6", idle, "idle_queue_bytes", IDLE_QUEUE_BYTES_MAX, "{:,.0f} B"),
        by.at_least(
            "7", "publish beside a queue at its bound", "bounds_share", BESIDE_FULL_QUEUE_SHARE_MIN, "{:.0f} % of alone"
        ),
    ]
