"""Shared by all tests: no task is left behind; what failed on a starved machine is run again; which dice are thrown."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator

import dice
import pytest
import starved
import structlog

dice.choose()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test may be run again on a starved machine; an asynchronous one is watched for tasks it leaves pending."""
    for item in items:
        starved.mark(item)
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.append("no_task_left")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    starved.begin(item)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    starved.end(item)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """What a test made of the log (a stream that is closed by then) ends with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task pending."""
    yield
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"tasks left behind: {left}"
