"""What was recorded, how far it is known to be durable, and what was promised on the strength of it."""

from __future__ import annotations

from tests.sim.replay import Known, check_one_place, replayed
from tests.sim.shadow import Shadow
from tests.sim.violation import Violation

from penstock.core.facts import (
    Due,
    Fact,
    Published,
    PublishedTo,
    Scheduled,
)


class History:
    """Outlives crashes; ``after_crash`` cuts it down to what survived."""

    def __init__(self) -> None:
        self.facts: list[Known] = []
        self.identity: dict[tuple[int, int], int] = {}
        """(queue number, offset) to the message that is there, for ever (I6)."""
        self.waiting: dict[tuple[int, int], int] = {}
        """(queue number, schedule id) to the message that was scheduled under it."""
        self.stored_uids: dict[int, None] = {}
        self.written_end = 0
        self.synced_end = 0
        self.promised = -1
        """The highest position that some effect relied on."""
        self.resent: dict[int, None] = {}
        """Messages that may rightly be stored twice: their queue was deleted, or they came through an exchange."""
        self.ways: dict[int, tuple[str, str]] = {}
        """Exchange and routing key of messages that were published through one (SEMANTICS 25)."""
        self.copying = False
        """An operator copied messages: a copy's original may live on."""

    def recorded(self, known: Known) -> None:
        """A fact was staged in the journal."""
        self.facts.append(known)
        if isinstance(known.fact, Published):
            self._identify(known.fact, known.uids)
        elif isinstance(known.fact, PublishedTo):
            for queue, first in known.fact.targets:
                self._identify_in(queue, first, known.uids)
        elif isinstance(known.fact, Scheduled):
            for index, uid in enumerate(known.uids):
                self.waiting[known.fact.queue, known.fact.first + index] = uid
                self.stored_uids[uid] = None
        elif isinstance(known.fact, Due):
            self._identify_in(known.fact.queue, known.fact.first, self._released(known.fact))

    def held(self, fact: Published, uids: tuple[int, ...]) -> None:
        """A memory queue's block was kept."""
        self._identify(fact, uids)

    def _released(self, fact: Due) -> tuple[int, ...]:
        return tuple(self.waiting[fact.queue, number] for first, end in fact.ranges for number in range(first, end))

    def _identify(self, fact: Published, uids: tuple[int, ...]) -> None:
        self._identify_in(fact.queue, fact.first, uids)

    def _identify_in(self, queue: int, first: int, uids: tuple[int, ...]) -> None:
        for index, uid in enumerate(uids):
            place = (queue, first + index)
            if place in self.identity:
                raise Violation("I6", f"position {place} of message {self.identity[place]} is used again for {uid}")
            self.identity[place] = uid
            self.stored_uids[uid] = None

    def is_durable(self, position: int) -> bool:
        """True when a fact's batch was synced (a memory queue's position is -1)."""
        return position < self.synced_end

    def relied_on(self, position: int, invariant: str, effect: str) -> None:
        """An effect left that promises the fact at this position: it has to be durable, now and after every crash."""
        if not self.is_durable(position):
            raise Violation(
                invariant, f"{effect} left before the fact at {position:#x} was synced ({self.synced_end:#x})"
            )
        self.promised = max(self.promised, position)

    def _check_transactions(self, end: int) -> None:
        """A transaction is wholly there or wholly not, over all the queues and groups it names (I5)."""
        kept = {known.transaction for known in self.facts if known.position < end}
        gone = {known.transaction for known in self.facts if known.position >= end}
        if torn := (kept & gone) - {0}:
            facts = [known.fact for known in self.facts if known.transaction in torn]
            raise Violation("I5", f"recovered up to {end:#x}, in the middle of transaction {torn}: {facts}")

    def after_crash(self, end: int, boot_epoch: int) -> Shadow:
        """Everything below position ``end`` survived: check that this is enough, and return what the state must be."""
        if end <= self.promised:
            raise Violation("I1", f"recovered up to {end:#x}, but {self.promised:#x} was promised")
        self._check_transactions(end)
        lost = [known for known in self.facts if known.position >= end]
        self.facts = [known for known in self.facts if known.position < end]
        if lost and isinstance(lost[0].fact, PublishedTo) and lost[0].fact.continues:
            raise Violation("I5", f"a part of a block survived the crash, and the next was lost: {lost[0].fact[:8]}")
        for known in lost:
            for queue, first in _places_of(known.fact):
                for index in range(len(known.uids)):
                    del self.identity[queue, first + index]
            if isinstance(known.fact, Due):
                for index in range(len(self._released(known.fact))):
                    del self.identity[known.fact.queue, known.fact.first + index]
        if lost:
            self.waiting = {
                (known.fact.queue, known.fact.first + index): uid
                for known in self.facts
                if isinstance(known.fact, Scheduled)
                for index, uid in enumerate(known.uids)
            }
            self.stored_uids = dict.fromkeys([*self.identity.values(), *self.waiting.values()])
        self.written_end = self.synced_end = end
        shadow = replayed(self.facts, boot_epoch)
        check_one_place(shadow, self.resent)
        return shadow


def _places_of(fact: Fact) -> tuple[tuple[int, int], ...]:
    if isinstance(fact, Published):
        return ((fact.queue, fact.first),)
    return fact.targets if isinstance(fact, PublishedTo) else ()
