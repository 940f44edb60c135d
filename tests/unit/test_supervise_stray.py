"""A cancellation that a library lets escape must not end a task of ours in silence (seen: asyncua with wait_for2)."""

from __future__ import annotations

import asyncio

import pytest

from gateway.drivers.opcua.link import edge
from gateway.supervise import Supervisor


class StrayError(asyncio.CancelledError):
    """As wait_for2 raises it: a cancellation with a result."""


@pytest.mark.looptime
async def test_a_stray_cancellation_is_outlived_and_told() -> None:
    """The task is started again and the failure counted; a real cancellation still ends it."""
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise StrayError
        await asyncio.Event().wait()

    supervisor = Supervisor()
    task = asyncio.create_task(supervisor.keep("work", work))
    await asyncio.sleep(5)
    assert (runs, supervisor.failures) == (2, {"work": 1})

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_limit_knows_the_librarys_cancellation_as_its_own() -> None:
    """An answer that comes together with the end of the time is a TimeoutError, not the end of the task."""

    async def library() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StrayError from None

    async def limited() -> None:
        async with asyncio.timeout(0):
            with edge("somewhere"):
                await library()

    with pytest.raises(TimeoutError):
        await limited()
