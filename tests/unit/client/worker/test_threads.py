"""Threads for blocking handlers: as many as asked for, reused, and never in the way of the process's end."""

import asyncio
import threading
from contextvars import ContextVar

import pytest
from tests.unit.client.peer import guarded

from penstock_client.worker.threads import Threads

number: ContextVar[int] = ContextVar("number")


async def test_a_call_returns_and_raises_what_it_does() -> None:
    threads = Threads(2, "t")
    assert await guarded(threads.run(divmod, 7, 3)) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        await guarded(threads.run(divmod, 7, 0))
    threads.close()


async def test_calls_run_beside_each_other_up_to_the_limit_and_threads_are_reused() -> None:
    threads = Threads(3, "t")
    together = threading.Barrier(3)
    names: set[str] = set()

    def meet() -> None:
        together.wait(10)
        names.add(threading.current_thread().name)

    await guarded(asyncio.gather(*(threads.run(meet) for _ in range(9))))
    assert names <= {"t-1", "t-2", "t-3"}
    threads.close()


async def test_one_call_at_a_time_needs_one_thread() -> None:
    threads = Threads(10, "t")
    names = {await guarded(threads.run(lambda: threading.current_thread().name)) for _ in range(20)}
    assert names == {"t-1"}
    threads.close()


async def test_a_call_sees_the_context_of_who_waits_for_it() -> None:
    threads = Threads(1, "t")
    number.set(7)
    assert await guarded(threads.run(number.get)) == 7
    threads.close()


async def test_threads_do_not_hold_the_process() -> None:
    threads = Threads(1, "t")
    assert await guarded(threads.run(lambda: threading.current_thread().daemon))
    threads.close()


async def test_closed_threads_end_when_their_calls_have() -> None:
    threads = Threads(1, "t")
    thread = await guarded(threads.run(threading.current_thread))
    threads.close()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


async def test_a_cancelled_wait_leaves_the_call_and_its_thread_alone() -> None:
    threads = Threads(1, "t")
    go_on = threading.Event()
    waiting = asyncio.ensure_future(threads.run(go_on.wait, 10))
    next_one = asyncio.ensure_future(threads.run(lambda: "next"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not next_one.done()
    go_on.set()
    assert await guarded(next_one) == "next"
    threads.close()


def test_a_call_that_outlives_its_loop_ends_in_peace() -> None:
    go_on, begun = threading.Event(), threading.Event()
    found: list[threading.Thread] = []

    def stay() -> None:
        found.append(threading.current_thread())
        begun.set()
        go_on.wait(10)

    async def leave() -> None:
        waiting = asyncio.ensure_future(Threads(1, "t").run(stay))
        await asyncio.to_thread(begun.wait, 10)
        waiting.cancel()

    asyncio.run(leave())
    go_on.set()
    found[0].join(10)
    assert not found[0].is_alive()


async def test_a_call_that_nobody_waits_for_any_more_is_not_begun() -> None:
    threads = Threads(1, "t")
    go_on = threading.Event()
    called: list[str] = []
    first = asyncio.ensure_future(threads.run(go_on.wait, 10))
    given_up = asyncio.ensure_future(threads.run(called.append, "given up"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    last = asyncio.ensure_future(threads.run(called.append, "last"))
    await asyncio.sleep(0)
    go_on.set()
    await guarded(asyncio.gather(first, last))
    assert called == ["last"]
    await guarded(threads.run(called.append, "and on"))
    threads.close()
