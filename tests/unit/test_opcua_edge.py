"""The edge to asyncua: what it raises comes out as ours, cancellations included."""

from __future__ import annotations

import asyncio

import pytest

from gateway.drivers.opcua.link import edge
from gateway.errors import DeviceError

pytestmark = pytest.mark.looptime

WHERE = "filler at opc.tcp://10.0.0.5:4840"


class CancelledWithResultError(asyncio.CancelledError):
    """What asyncua's own wait_for raises when the answer comes in the moment of the cancellation."""


async def _answered_in_the_moment_of_its_cancellation() -> None:
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError as cancelled:
        raise CancelledWithResultError(b"the answer", False) from cancelled


async def _asked(within_s: float) -> None:
    async with asyncio.timeout(within_s):
        with edge(WHERE):
            await _answered_in_the_moment_of_its_cancellation()


async def test_a_timeout_knows_a_cancellation_that_carries_an_answer() -> None:
    """`asyncio.timeout` takes only a plain CancelledError for its own; any other would end the station's task."""
    with pytest.raises(TimeoutError):
        await _asked(within_s=1)


async def test_a_library_error_names_the_device() -> None:
    """A refused connection is a DeviceError with device and address."""
    with pytest.raises(DeviceError, match=f"^{WHERE}: refused$"), edge(WHERE):
        raise ConnectionError("refused")
