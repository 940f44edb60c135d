"""Serial ports that do not do as they are told."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator

import pytest

from gateway.drivers.transport import Stream, open_stream, parse_url
from gateway.errors import DeviceError

SCHEMES = ("serial",)


@pytest.fixture
def port() -> Iterator[str]:
    near, far = pty.openpty()
    yield os.ttyname(far)
    os.close(near)
    os.close(far)


async def test_a_port_that_refuses_its_settings_is_an_error_and_not_kept_open(port: str) -> None:
    """A pty has no parity: the error says what to try, and the next try finds the port free."""
    with pytest.raises(DeviceError, match=r"oven: the port does not take its settings: .*; try another baudrate"):
        async with open_stream(parse_url(f"serial://{port}?parity=E", SCHEMES), Stream("oven"), 2.0):
            pytest.fail("a pty took parity")
    async with open_stream(parse_url(f"serial://{port}", SCHEMES), Stream("oven"), 2.0) as stream:
        assert stream.lost is None
