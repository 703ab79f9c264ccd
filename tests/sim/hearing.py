"""What the shadow makes of the definitions it hears of, in the simulator and beside core alone."""

from __future__ import annotations

from tests.sim.replay import forget_producers
from tests.sim.shadow import Shadow

from penstock.core.facts import (
    Declared,
    Deleted,
    Fact,
    GroupDeclared,
    GroupDeleted,
    Paused,
    ProducerOpened,
    ProducersExpired,
)


def note_definition(shadow: Shadow, fact: Fact) -> int:
    """Note a fact about queues, groups or producers; return how many messages went with it."""
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
        case ProducerOpened():
            shadow.producers[fact.producer] = fact.time_ms
        case ProducersExpired():
            forget_producers(shadow, fact.producers)
    return 0
