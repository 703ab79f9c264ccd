"""What the shadow makes of the definitions it hears of, in the simulator and beside core alone."""

from __future__ import annotations

from collections.abc import Iterable

from tests.sim import namespaces, recurring
from tests.sim.shadow import Shadow
from tests.sim.transacting import set_state
from tests.sim.violation import Violation

from penstock.core.facts import (
    Altered,
    Bound,
    Declared,
    Deleted,
    ExchangeDeclared,
    ExchangeDeleted,
    Fact,
    Fired,
    GroupAltered,
    GroupDeclared,
    GroupDeleted,
    GroupStateSet,
    NamespaceDeleted,
    NamespaceSet,
    Paused,
    ProducerOpened,
    ProducersExpired,
    RecurringAdded,
    RecurringPaused,
    RecurringRemoved,
    Unbound,
)


def note_definition(shadow: Shadow, fact: Fact) -> int:
    """Note a fact about queues, groups, their state or producers; return how many messages went with it."""
    match fact:
        case Declared():
            shadow.declared(fact)
        case Deleted():
            return shadow.delete(fact.queue)
        case GroupDeclared():
            shadow.group_declared(fact)
        case GroupDeleted():
            return shadow.group_deleted(fact)
        case Paused():
            shadow.pause(fact)
        case Altered() | GroupAltered() | GroupStateSet():
            _note_change(shadow, fact)
        case ProducerOpened():
            shadow.producers[fact.producer] = fact.time_ms
        case ProducersExpired():
            forget_producers(shadow, fact.producers)
        case ExchangeDeclared() | ExchangeDeleted() | Bound() | Unbound():
            _check_leads_somewhere(shadow, fact)
            shadow.exchanges.apply(fact)
        case NamespaceSet() | NamespaceDeleted():
            namespaces.apply(shadow, fact)
        case RecurringAdded() | RecurringRemoved() | RecurringPaused() | Fired():
            recurring.apply(shadow, fact)
    return 0


def _check_leads_somewhere(shadow: Shadow, fact: Fact) -> None:
    """What the journal says of bindings is about queues that it knows."""
    if (
        isinstance(fact, (Bound, Unbound))
        and fact.destination[0] == "queue"
        and fact.destination[1] not in shadow.queues
    ):
        raise Violation("I18", f"{fact} leads to a queue that there is not")


def _note_change(shadow: Shadow, fact: Altered | GroupAltered | GroupStateSet) -> None:
    if isinstance(fact, Altered):
        shadow.queues[fact.queue].take_settings(fact.settings, fact.time_ms)
    elif isinstance(fact, GroupAltered):
        shadow.queues[fact.queue].groups[fact.group].settings = fact.settings
    else:
        set_state(shadow, fact)


def forget_producers(shadow: Shadow, producers: Iterable[int]) -> None:
    """Producers expired: their streams are forgotten."""
    for producer in producers:
        del shadow.producers[producer]
        for queue in shadow.queues.values():
            queue.streams.pop(producer, None)
        for exchange in shadow.exchanges.by_number.values():
            exchange.streams.pop(producer, None)
