"""Recurring schedules: messages that the broker publishes again and again, at times that a cron line names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from penstock_client.errors import UnknownSchedule
from penstock_client.message import Publishable
from penstock_client.outgoing import encode_parts, prepare
from penstock_client.wire.blocks import decode_bodies
from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client


class ScheduleInfo(NamedTuple):
    """A recurring schedule as it is now. ``next_at`` is None while it is paused, and when it never fires again.

    ``fired`` are the messages it has published, ``lost`` its firings without one: missed ones, and those that found no
    queue.
    """

    name: str
    cron: str
    time_zone: str
    queue: str
    body: bytes
    missed: str
    paused: bool
    next_at: datetime | None
    last_at: datetime | None
    fired: int
    lost: int
    created_at: datetime
    raw: dict[str, Any]

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Return the info in a reply."""
        return cls(
            name=raw["name"],
            cron=raw["cron"],
            time_zone=raw["time_zone"],
            queue=raw["queue"],
            body=decode_bodies(raw["block"])[0],
            missed=raw["missed"],
            paused=raw["paused"],
            next_at=_time(raw["next_ms"]),
            last_at=_time(raw["last_ms"]),
            fired=raw["fired_count"],
            lost=raw["lost_count"],
            created_at=datetime.fromtimestamp(raw["created_at_ms"] / 1000, UTC),
            raw=raw,
        )


class Schedule:
    """A recurring schedule of one broker; a handle, no I/O until something is asked of it."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    def __repr__(self) -> str:
        return f"<schedule {self.name!r}>"

    async def add(
        self, cron: str, queue: str, message: Publishable, *, time_zone: str = "UTC", missed: str = "once"
    ) -> bool:
        """Have ``message`` published to ``queue`` whenever ``cron`` fires in ``time_zone``; True when that is new.

        ``missed`` says what becomes of firings whose time passes while the broker is down: "once", one message for all
        of them when it is up again; "skip", none; "all", one for each of the latest thousand. Raises BadSetting for a
        line or a time zone that is wrong, UnknownQueue, SettingsDiffer.
        """
        [(block, _)] = encode_parts([prepare(message)])
        arguments = {"name": self.name, "cron": cron, "time_zone": time_zone, "queue": queue, "missed": missed}
        reply = await self._client.call(FrameType.SCHEDULE_ADD, {**arguments, "block": block})
        return bool(reply["created"])

    async def info(self) -> ScheduleInfo:
        """Describe the schedule. Raises UnknownSchedule."""
        found = [one for one in await list_schedules(self._client, self.name) if one.name == self.name]
        if not found:
            raise UnknownSchedule(f"there is no recurring schedule {self.name!r}")
        return found[0]

    async def remove(self) -> None:
        """Have it fire no more, for good. What it has published stays. Raises UnknownSchedule."""
        await self._client.call(FrameType.SCHEDULE_REMOVE, {"name": self.name}, once=True)

    async def pause(self) -> None:
        """Have it not fire until it is resumed."""
        await self._client.call(FrameType.SCHEDULE_PAUSE, {"name": self.name, "paused": True})

    async def resume(self) -> None:
        """Have it fire again, from its next time on: what the pause left out is not made up for."""
        await self._client.call(FrameType.SCHEDULE_PAUSE, {"name": self.name, "paused": False})


async def list_schedules(client: Client, prefix: str) -> list[ScheduleInfo]:
    """Describe every recurring schedule whose name starts with ``prefix``, in name order."""
    found: list[ScheduleInfo] = []
    more = True
    while more:
        arguments = {"prefix": prefix, "after": found[-1].name if found else ""}
        page = await client.call(FrameType.SCHEDULE_LIST, arguments)
        found += [ScheduleInfo.of(raw) for raw in page["schedules"]]
        more = bool(page["more"])
    return found


def _time(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC)
