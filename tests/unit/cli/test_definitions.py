"""Definitions as values: TOML and back, and what has to change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.definition_file import Binding, Definitions, Exchange, Queue, encode_message, read, write
from penstock.cli.definition_plan import ALTER, CONFLICT, CREATE, DELETE, Change, plan
from penstock.cli.exits import CommandError, ExitCode
from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.namespaces import NamespaceSettings
from penstock.core.recurring import MISSED
from penstock.core.values import MODES, GroupSettings, QueueSettings
from penstock_client.message import Message
from penstock_client.outgoing import encode_parts, prepare
from penstock_client.wire.frames import FrameType

NOTHING = Definitions({}, {}, {}, {})
FILE = """
[queues.jobs]
lease_ms = 60000
rate_per_s = 50.0

[queues.jobs.groups.billing]
mode = "keyed"

[queues."eu.jobs"]

[exchanges.events]
type = "topic"
alternate = "strays"

[[exchanges.events.bindings]]
queue = "jobs"
routing_key = "orders.*.new"

[[exchanges.events.bindings]]
to_exchange = "strays"
routing_key = "#"

[exchanges.strays]
type = "headers"

[[exchanges.strays.bindings]]
queue = "jobs"
arguments = { x-match = "any", region = "eu", urgent = {} }

[schedules.tick]
cron = "*/5 * * * *"
queue = "jobs"
body = "check the feeds"
headers = { kind = "tick" }
"""


def told(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.action, change.what) for change in changes]


def test_a_file_says_everything_of_what_it_names() -> None:
    wanted = read(FILE, "file")
    jobs = wanted.queues["jobs"]
    assert jobs.settings == QueueSettings(lease_ms=60000, rate_per_s=50.0).as_map()
    assert jobs.groups == {"billing": GroupSettings(mode="keyed").as_map()}
    assert wanted.exchanges["events"].bindings == {
        Binding("queue", "jobs", "orders.*.new", "{}"),
        Binding("exchange", "strays", "#", "{}"),
    }
    [by_header] = wanted.exchanges["strays"].bindings
    assert by_header.as_map()["arguments"] == {"x-match": "any", "region": "eu", "urgent": None}


def test_an_export_is_read_as_what_was_exported() -> None:
    wanted = read(FILE, "file")
    text = write(wanted)
    assert read(text, "export") == wanted
    assert "max_failures" not in text, "defaults are left out"


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=20).filter(
    lambda name: not name.startswith(("$", "amq.")) and "\x7f" not in name and "/" not in name
)
QUEUES = st.builds(
    lambda lease_ms, failures, groups: Queue(
        QueueSettings(lease_ms=lease_ms, max_failures=failures).as_map(),
        {name: GroupSettings(mode=mode).as_map() for name, mode in groups.items()},
    ),
    st.integers(100, 10_000),
    st.integers(0, 9),
    st.dictionaries(NAMES, st.sampled_from(MODES), max_size=3),
)


def definitions() -> st.SearchStrategy[Definitions]:
    def with_exchanges(queues: dict[str, Queue]) -> st.SearchStrategy[Definitions]:
        binding = st.builds(Binding, st.just("queue"), st.sampled_from(sorted(queues)), NAMES, st.just("{}"))
        exchange = st.builds(Exchange, st.just(ExchangeSettings().as_map()), st.frozensets(binding, max_size=3))
        message = st.fixed_dictionaries({"body": st.text()}, optional={"key": NAMES})
        schedule = st.builds(
            lambda message, missed: {
                "cron": "0 * * * *",
                "time_zone": "Europe/Berlin",
                "queue": min(queues),
                "missed": missed,
                "block": encode_message(message),
            },
            message,
            st.sampled_from(MISSED),
        )
        exchanges = st.dictionaries(NAMES, exchange, max_size=3)
        schedules = st.dictionaries(NAMES, schedule, max_size=3)
        limits = st.builds(lambda *values: NamespaceSettings(*values).as_map(), *(st.integers(0, 1 << 40),) * 3)
        spaces = st.dictionaries(NAMES, limits, max_size=2)
        return st.builds(Definitions, st.just(queues), exchanges, schedules, spaces)

    return st.dictionaries(NAMES, QUEUES, min_size=1, max_size=4).flatmap(with_exchanges)


@given(definitions())
def test_every_definition_goes_through_a_file(wanted: Definitions) -> None:
    assert read(write(wanted), "export") == wanted
    assert plan(wanted, wanted, prune=True) == []


def test_an_empty_broker_gets_queues_before_what_leads_to_them() -> None:
    changes = plan(NOTHING, read(FILE, "file"), prune=True)
    assert {change.action for change in changes} == {CREATE}
    kinds = [change.frame for change in changes]
    order = [FrameType.QUEUE_DECLARE, FrameType.EXCHANGE_DECLARE, FrameType.EXCHANGE_BIND]
    assert [kind for kind in dict.fromkeys(kinds) if kind in order] == order
    assert changes[0].arguments == {"queue": "jobs", "lease_ms": 60000, "rate_per_s": 50.0}


def test_what_differs_is_altered_or_is_a_conflict() -> None:
    wanted = read(FILE, "file")
    live = read(FILE.replace("60000", "1000").replace('"keyed"', '"single"').replace('"topic"', '"direct"'), "live")
    changes = plan(live, wanted, prune=False)
    assert (ALTER, "queue 'jobs'") in told(changes)
    assert (CONFLICT, "group 'billing' of queue 'jobs'") in told(changes)
    assert (CONFLICT, "exchange 'events'") in told(changes)
    [altered] = [change for change in changes if change.action == ALTER]
    assert (altered.frame, altered.arguments) == (FrameType.QUEUE_ALTER, {"queue": "jobs", "lease_ms": 60000})


def test_times_to_live_and_priorities_are_kept_and_altered() -> None:
    timed = '[queues.jobs]\nttl_ms = 60000\non_expired = "dead-letter"\npriority_max = 99\n'
    wanted = read(timed, "file")
    assert read(write(wanted), "export") == wanted
    live = read(timed.replace("60000", "5000").replace("99", "255").replace("dead-letter", "drop"), "live")
    [change] = plan(live, wanted, prune=False)
    assert (change.action, change.frame) == (ALTER, FrameType.QUEUE_ALTER)
    settings = {"ttl_ms": 60000, "on_expired": "dead-letter", "priority_max": 99}
    assert change.arguments == {"queue": "jobs", **settings}


def test_a_setting_that_is_left_out_goes_back_to_its_default() -> None:
    [change] = plan(read(FILE, "live"), read(FILE.replace("rate_per_s = 50.0", ""), "file"), prune=False)
    assert change.arguments == {"queue": "jobs", "rate_per_s": None}


def test_what_the_file_does_not_name_goes_only_with_prune_and_dead_letters_stay() -> None:
    live = read(FILE + '\n[queues."jobs.dead"]\n[queues.old]\n', "live")
    wanted = read("[queues.jobs]\nlease_ms = 60000\nrate_per_s = 50.0\n", "file")
    assert plan(live, wanted, prune=False) == []
    assert told(plan(live, wanted, prune=True)) == [
        (DELETE, "schedule 'tick'"),
        (DELETE, "exchange 'events'"),
        (DELETE, "exchange 'strays'"),
        (DELETE, "queue 'eu.jobs'"),
        (DELETE, "group 'billing' of queue 'jobs'"),
        (DELETE, "queue 'old'"),
    ]


def test_a_binding_that_is_gone_from_the_file_is_unbound() -> None:
    wanted = read(FILE.replace('routing_key = "orders.*.new"', 'routing_key = "orders.#"'), "file")
    bound, unbound = plan(read(FILE, "live"), wanted, prune=False)
    assert (bound.frame, bound.arguments["routing_key"]) == (FrameType.EXCHANGE_BIND, "orders.#")
    assert (unbound.frame, unbound.arguments["routing_key"]) == (FrameType.EXCHANGE_UNBIND, "orders.*.new")


def test_a_schedule_that_differs_is_replaced() -> None:
    wanted = read(FILE.replace("*/5", "*/9"), "file")
    removed, added = plan(read(FILE, "live"), wanted, prune=False)
    assert (removed.frame, added.frame) == (FrameType.SCHEDULE_REMOVE, FrameType.SCHEDULE_ADD)
    assert (added.arguments["name"], added.arguments["cron"]) == ("tick", "*/9 * * * *")


@pytest.mark.parametrize(
    "message", [Message(b"\xff"), Message(b"x", message_id="one"), Message(b"x", headers={"there": None})]
)
def test_a_message_that_is_more_than_text_a_key_and_headers_is_kept_as_it_is(message: Message) -> None:
    [(block, _)] = encode_parts([prepare(message)])
    schedule = read(FILE, "file").schedules["tick"] | {"block": bytes(block)}
    wanted = read(FILE, "file")._replace(schedules={"tick": schedule})
    assert read(write(wanted), "export") == wanted


def test_a_schedule_that_leads_nowhere_is_a_conflict() -> None:
    wanted = read('[schedules.s]\ncron = "* * * * *"\nqueue = "nowhere"\nbody = "x"\n', "file")
    assert told(plan(NOTHING, wanted, prune=False))[0] == (CONFLICT, "schedule 's'")


def test_a_binding_that_leads_nowhere_is_a_conflict() -> None:
    wanted = read('[exchanges.e]\n[[exchanges.e.bindings]]\nqueue = "nowhere"\n', "file")
    assert (CONFLICT, "binding of exchange 'e'") in told(plan(NOTHING, wanted, prune=False))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("queues = [", "no TOML"),
        ("[queue.jobs]", "no table 'queue'"),
        ("queues = 3", "queues must be tables"),
        ("[queues.jobs]\nlease = 3", "queues.jobs: "),
        ("[queues.jobs]\nlease_ms = 3", "lease_ms"),
        ("[queues.jobs]\nephemeral = true", "no file can keep it"),
        ('[queues."a\\u0000b"]', "queues: "),
        ('[queues.jobs.groups.g]\nmode = "any"', "queues.jobs.groups.g: mode must be"),
        ('[exchanges.e]\ntype = "star"', "exchanges.e: type must be"),
        ('[exchanges."amq.e"]', "reserved"),
        ("[exchanges.e]\nbindings = 3", "array of tables"),
        ('[[exchanges.e.bindings]]\nqueue = "a"\nto_exchange = "b"', "exchanges.e.bindings, number 1: "),
        ('[[exchanges.e.bindings]]\nqueues = "a"', "no 'queues'"),
        ("[[exchanges.e.bindings]]\nqueue = 3", "name must be a text"),
        ('[schedules.s]\nqueue = "q"\nbody = "x"', "schedules.s: cron must be given"),
        ('[schedules.s]\ncron = "61 * * * *"\nqueue = "q"\nbody = "x"', "61"),
        ('[schedules.s]\ncron = "* * * * *"\nqueue = "q"', "it needs a body"),
        ('[schedules.s]\ncron = "* * * * *"\nqueue = "q"\nblock = "eA=="', "block of one message"),
        ('[schedules.s]\ncron = "* * * * *"\nqueue = "q"\nbody = "x"\nmissed = "no"', "missed must be"),
        ('[schedules.s]\ncron = "* * * * *"\nqueue = "q"\nbodi = "x"', "no 'bodi'"),
        (
            '[exchanges.e]\ntype = "topic"\n[[exchanges.e.bindings]]\nqueue = "q"\nrouting_key = "new*"',
            "stands for whole words",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, place: str) -> None:
    with pytest.raises(CommandError) as error:
        read(text, "definitions.toml")
    assert error.value.exit_code == ExitCode.DATA
    assert error.value.happened.startswith("definitions.toml")
    assert place in error.value.happened
