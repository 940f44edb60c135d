"""What a check finds, and how checks are run: at once, each within its limit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal, TypeVar

import msgspec

T = TypeVar("T")
Level = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """One line of the doctor's report."""

    level: Level
    area: str
    """What was looked at: clock, disk, device reservoir."""
    text: str
    todo: str = ""
    """What to do about it; empty where all is well."""


class Job(msgspec.Struct, frozen=True):
    """One check.  `look` is awaited once, and has `limit_s` seconds."""

    area: str
    look: Callable[[], Awaitable[list[Finding]]]
    limit_s: float = 5.0


async def examine(jobs: Sequence[Job], done: Callable[[Job], None]) -> list[Finding]:
    """All findings, in the order of the jobs; `done` hears of each job as it ends."""
    found = await asyncio.gather(*(_within(job, done) for job in jobs))
    return [finding for findings in found for finding in findings]


async def _within(job: Job, done: Callable[[Job], None]) -> list[Finding]:
    try:
        async with asyncio.timeout(job.limit_s):
            return await job.look()
    except TimeoutError:
        text = f"no answer within {job.limit_s:g} s"
        return [Finding("fail", job.area, text, "something hangs there: look at the network, the disk or the mount")]
    except OSError as error:
        what = error.strerror or str(error) or type(error).__name__
        text = f"{error.filename}: {what}" if error.filename else what
        return [Finding("fail", job.area, text, "look at it by hand")]
    finally:
        done(job)


async def aside(work: Callable[[], T]) -> T:
    """Run what may block in a thread that nobody waits for at the end: a dead mount must not hold the doctor up."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  # boundary: it is raised again where it was asked for
            _in_loop(loop, partial(_fail, future, error))
        else:
            _in_loop(loop, partial(_give, future, result))

    threading.Thread(target=run, name="doctor", daemon=True).start()
    return await future


def _give(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is gone: nobody asks any more
        loop.call_soon_threadsafe(work)
