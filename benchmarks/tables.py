"""Which figures make which table: shared by the report and the terminal."""

from typing import Final, NamedTuple

from benchmarks.results import Results, Summary
from benchmarks.systems import SYSTEMS


class Column(NamedTuple):
    """One measure in a table; ``digits`` after the decimal point."""

    measure: str
    title: str
    digits: int = 0


class Table(NamedTuple):
    """A table with one row for each system, once for each body size (or for 100 B only)."""

    title: str
    explanation: str
    columns: tuple[Column, ...]
    every_body_size: bool = True


TABLES: Final = (
    Table(
        "Through the Python client",
        "Each broker through the client its users would pick, one message at a time in the code: Penstock's SDK with"
        " `publisher.send` and `async for` + `ack`; redis-py with pipelines of 500 XADD, XREADGROUP and XACK; nats-py"
        " with `publish_async`, and `fetch` + `ack`; aio-pika with 500 confirms outstanding, and a consumer callback +"
        " `ack`. All on uvloop. Publish counts confirmed messages, consume acknowledged ones.",
        (
            Column("client_publish", "publish/s"),
            Column("client_consume", "consume/s"),
            Column("client_both_publish", "publish/s at once"),
            Column("client_both_consume", "consume/s at once"),
            Column("client_cpu", "broker CPU s per million", 2),
        ),
    ),
    Table(
        "Pre-encoded frames on raw sockets",
        "One connection publishes, one consumes and acknowledges, within a window of messages (Penstock: 500 messages"
        " or 128 KiB in a frame). What the broker can do when no client library is the limit.",
        (
            Column("raw_publish", "publish/s"),
            Column("raw_consume", "consume/s"),
            Column("raw_both_publish", "publish/s at once"),
            Column("raw_both_consume", "consume/s at once"),
            Column("raw_cpu", "broker CPU s per million", 2),
        ),
    ),
    Table(
        "One message per frame",
        "Penstock when a client cannot coalesce: pipelined, but every message in a frame and a journal record of its"
        " own. The peers' protocols always work like this; their figures are in the table above.",
        (
            Column("single_both_publish", "publish/s at once"),
            Column("single_both_consume", "consume/s at once"),
            Column("single_cpu", "broker CPU s per million", 2),
        ),
        every_body_size=False,
    ),
    Table(
        "Publish-to-delivery latency at 1,000 messages/s",
        "Through the Python client, producer and consumer in separate processes, milliseconds. NATS by push consumer.",
        (Column("latency_p50_ms", "p50 ms", 3), Column("latency_p99_ms", "p99 ms", 3)),
    ),
    Table(
        "One message at a time, and 500 connections",
        "p50 of the time until the confirm, one connection, next message after it. Then many connections, each with one"
        " message in flight, pre-encoded.",
        (
            Column("client_confirm_p50_ms", "client p50 ms", 3),
            Column("raw_confirm_p50_ms", "raw p50 ms", 3),
            Column("connections_publish", "500 connections, publish/s"),
        ),
        every_body_size=False,
    ),
    Table(
        "Request and reply in Penstock",
        "`client.request` from one process to another that answers each message in a task of its own: p50 of the round"
        " trip, one at a time; then 100 in flight on one connection. Beside it as many of `queue.publish`, each awaited"
        " until its confirm, while the other process acknowledges them. On a durable queue and on one in memory.",
        (
            Column("plain_p50_ms", "publish p50 ms", 3),
            Column("request_p50_ms", "request p50 ms", 3),
            Column("plain_rate", "publish/s, 100 in flight"),
            Column("request_rate", "request/s, 100 in flight"),
            Column("memory_plain_p50_ms", "in memory: publish p50 ms", 3),
            Column("memory_request_p50_ms", "request p50 ms", 3),
            Column("memory_plain_rate", "publish/s"),
            Column("memory_request_rate", "request/s"),
        ),
        every_body_size=False,
    ),
    Table(
        "Messages at random over many queues",
        "One pipelined producer, each message to a random queue of many, the same random order for every broker (synced"
        " ones only). Redis: a stream each. NATS: a subject each in one stream. RabbitMQ: a queue each. Penstock: one"
        " `client.publisher()` for all, raw frames of 500 messages, and as many publishers as queues.",
        (
            Column("client_spread", "client publish/s"),
            Column("raw_spread", "raw publish/s"),
            Column("separate_spread", "a publisher per queue, publish/s"),
        ),
        every_body_size=False,
    ),
    Table(
        "Beside a queue at its bound",
        "Penstock, through the client: one pipelined producer of a queue, alone, and while four producers wait for room"
        " in another queue, one of them in the same client. The share is of two loads that followed each other.",
        (
            Column("bounds_alone", "alone, publish/s"),
            Column("bounds_beside", "beside it, publish/s"),
            Column("bounds_share", "share, %"),
        ),
        every_body_size=False,
    ),
    Table(
        "Memory and start",
        "Resident memory of the broker process, idle after start and at its peak under the loads above; seconds from"
        " starting the process to accepting connections on an empty directory.",
        (
            Column("idle_rss_mb", "idle RSS MB"),
            Column("peak_rss_mb", "peak RSS MB"),
            Column("start_s", "start s", 2),
        ),
        every_body_size=False,
    ),
    Table(
        "More of Penstock and NATS",
        "A queue in memory (`durable=False`); a handler that awaits once per message; nats-py's push callback, faster"
        " than the `fetch` that NATS recommends for work queues.",
        (
            Column("memory_latency_p50_ms", "in memory p50 ms", 3),
            Column("memory_latency_p99_ms", "in memory p99 ms", 3),
            Column("awaiting_consume", "awaiting handler/s"),
            Column("callback_consume", "callback consume/s"),
            Column("idle_queue_bytes", "bytes per idle queue"),
        ),
        every_body_size=False,
    ),
    Table(
        "What features of Penstock cost",
        "Rates through the SDK as a ratio to the plain queue in the same visit, 100 B, publishing while another process"
        " consumes. Topic: through a topic exchange with one queue bound by `orders.*.new`. Five groups: each gets"
        " every message, counted five times. Delay: of one second, which the consumer's rate leaves out. Priority: one"
        " of ten at random each. Transactions: ten messages each, 50 under way. Keyed: draining 200,000 messages with"
        " 100,000 keys, beside a shared group.",
        (
            Column("topic_publish_ratio", "topic publish", 2),
            Column("topic_consume_ratio", "topic consume", 2),
            Column("groups_publish_ratio", "five groups publish", 2),
            Column("groups_consume_ratio", "consume", 2),
            Column("delay_publish_ratio", "delay publish", 2),
            Column("delay_consume_ratio", "consume", 2),
            Column("priority_publish_ratio", "priority publish", 2),
            Column("priority_consume_ratio", "consume", 2),
            Column("transaction_publish_ratio", "transactions publish", 2),
            Column("keyed_consume_ratio", "keyed consume", 2),
        ),
        every_body_size=False,
    ),
    Table(
        "A backlog in Penstock, coalesced",
        "Published 200 B messages without a consumer; restart after SIGKILL; then drained through the SDK.",
        (
            Column("backlog_messages", "messages"),
            Column("backlog_publish", "publish/s (raw)"),
            Column("backlog_rss_mb", "RSS MB"),
            Column("backlog_restart_s", "restart s", 2),
            Column("backlog_reference_consume", "consume/s without backlog"),
            Column("backlog_drain", "drain/s"),
            Column("backlog_peak_rss_mb", "peak RSS MB after restart"),
        ),
        every_body_size=False,
    ),
    Table(
        "A backlog in Penstock, one message per record",
        "The same with every message published in a frame of its own.",
        (
            Column("backlog_single_messages", "messages"),
            Column("backlog_single_publish", "publish/s (raw)"),
            Column("backlog_single_rss_mb", "RSS MB"),
            Column("backlog_single_restart_s", "restart s", 2),
            Column("backlog_single_drain", "drain/s"),
            Column("backlog_single_peak_rss_mb", "peak RSS MB after restart"),
        ),
        every_body_size=False,
    ),
)


class Rendered(NamedTuple):
    """A table of text, ready to be drawn anywhere: rows are (system name, cells)."""

    title: str
    explanation: str
    heads: list[str]
    rows: list[tuple[str, list[str]]]


def render(results: Results, body_sizes: tuple[int, ...]) -> list[Rendered]:
    """Return the tables that have any figure; cells are medians with minimum and maximum."""
    rendered: list[Rendered] = []
    for table in TABLES:
        for body_bytes in body_sizes if table.every_body_size else body_sizes[:1]:
            rows = _rows(results, table, body_bytes)
            if rows:
                title = f"{table.title}, {body_bytes} B" if table.every_body_size else table.title
                heads = [column.title for column in table.columns]
                rendered.append(Rendered(title, table.explanation, heads, rows))
    return rendered


def _rows(results: Results, table: Table, body_bytes: int) -> list[tuple[str, list[str]]]:
    rows: list[tuple[str, list[str]]] = []
    for name in SYSTEMS:
        summaries = [(results.summary(name, column.measure, body_bytes), column.digits) for column in table.columns]
        if any(summary for summary, _ in summaries):
            rows.append((name, [_cell(summary, digits) for summary, digits in summaries]))
    return rows


def _cell(summary: Summary | None, digits: int) -> str:
    if summary is None:
        return ""
    median = f"{summary.median:,.{digits}f}"
    if summary.rounds == 1:
        return median
    return f"{median} ({summary.low:,.{digits}f} to {summary.high:,.{digits}f})"
