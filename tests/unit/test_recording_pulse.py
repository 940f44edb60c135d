"""The pulse of the store's thread: a slow disk with much to do is not a hung one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from gateway.recording import LOOK_S, STUCK_LOOKS, Pulse
from gateway.store.writer import Turn, Writer


async def test_the_pulse_waits_for_no_queue() -> None:
    """What asks whether the thread comes back is answered after the job in hand, before all that is queued."""
    writer, going, seen = Writer(asyncio.get_running_loop()), threading.Event(), list[str]()

    def in_hand() -> None:
        going.wait(10)
        seen.append("in hand")

    writer.post(in_hand)
    for number in range(3):
        writer.post(lambda number=number: seen.append(f"commit {number}"))  # type: ignore[misc]
    writer.post(lambda: seen.append("pulse"), Turn.PULSE)
    going.set()
    await writer.close()

    assert sorted(seen[:2]) == ["in hand", "pulse"]  # the thread may not have begun when the last one came
    assert seen[2:] == ["commit 0", "commit 1", "commit 2"]


@pytest.mark.looptime
async def test_a_thread_that_does_not_come_back_takes_the_heartbeats() -> None:
    """Two seconds without an answer mute all beats; the next answer brings them back."""
    posted: list[tuple[Callable[[], None], Turn]] = []
    muted: list[tuple[float, bool]] = []
    loop = asyncio.get_running_loop()
    writer = SimpleNamespace(post=lambda job, turn=Turn.COMMIT: posted.append((job, turn)))
    line = SimpleNamespace(alarms=SimpleNamespace(stand=lambda *_, **__: None), commit=lambda: None)
    pulse = Pulse(line, SimpleNamespace(writer=writer), lambda on: muted.append((loop.time(), on)), hold=True)  # type: ignore[arg-type]
    began = loop.time()
    life = asyncio.create_task(pulse.run())
    await asyncio.sleep(LOOK_S * (STUCK_LOOKS + 1.5))
    ((answer, turn),) = posted
    answer()
    await asyncio.sleep(2 * LOOK_S)
    life.cancel()

    assert turn is Turn.PULSE
    assert [on for _, on in muted] == [False, True, False]
    assert muted[1][0] - began == pytest.approx(LOOK_S * STUCK_LOOKS)
