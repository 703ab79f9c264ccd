"""Publishing blocks that ask for something of the broker: when, for how long, before which others."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core import publishing, scheduling
from penstock.core.asks import Ask, Asks
from penstock.core.broker import Broker
from penstock.core.scheduling import Part
from penstock.core.session import Session
from penstock.core.storing import Publication


def publish(
    broker: Broker,
    session: Session,
    publication: Publication,
    asks: Sequence[Ask],
    parts: Sequence[Part],
    now_ms: int,
) -> None:
    """Publish one block, each of whose messages asks what ``asks`` says; wherever it goes, that is noted with it.

    ``parts``: not empty where some of it is to be delivered later.
    """
    broker.asks = Asks(publication[2], asks)
    try:
        with broker.recorder.together():
            if parts:
                scheduling.publish(broker, session, publication, parts, now_ms)
            else:
                publishing.publish(broker, session, (publication,), now_ms)
    finally:
        broker.asks = None
