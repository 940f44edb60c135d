"""A simulated cable's port is its own while it is pulled."""

from __future__ import annotations

import gc
import socket

import pytest

from simulators.link import Gate, TcpDoor
from simulators.ports import kept


class Owner:
    """Somebody who listens on and off."""


def refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_nobody_is_given_a_port_that_is_kept() -> None:
    """Neither for an outgoing connection nor to listen; and it refuses whoever connects to it."""
    owner = Owner()
    port = kept("127.0.0.1", owner)
    assert refused(port)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))

    del owner
    gc.collect()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_a_port_is_kept_on_the_address_that_is_asked_for() -> None:
    """Of either family."""
    owner = Owner()
    port = kept("::1", owner)
    with socket.socket(socket.AF_INET6) as other, pytest.raises(OSError, match="in use"):
        other.bind(("::1", port))


async def test_a_cut_cable_refuses_and_is_plugged_in_again() -> None:
    """The same port, however often, while others look for one."""
    door = TcpDoor("127.0.0.1", 0, lambda _: None, Gate())  # type: ignore[arg-type,return-value]
    for _ in range(3):
        await door.open()
        assert not refused(door.port)
        await door.cut()
        assert refused(door.port)
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            assert other.getsockname()[1] != door.port
