"""The requests of one poll: the channels of a device, table by table, in the blocks that cost least."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import msgspec

from gateway.drivers.modbus.layout import Channel, Part
from gateway.drivers.modbus.plan import Block, Limits, Span, plan
from gateway.drivers.wire.modbus import READ

TCP_REQUEST_COST: Final = 120.0
"""Registers that take as long as a round trip on a LAN: practically any hole is worth reading."""
RTU_REQUEST_COST: Final = 12.0
"""13 bytes of frame, two silences of 3.5 characters and the device's turn-around, at 2 bytes a register."""


class Caps(msgspec.Struct, frozen=True):
    """What a device bears."""

    most: int
    """Registers in one answer."""
    most_bits: int
    request_cost: float
    """Registers that take as long to read as one more request."""
    walls: tuple[Span, ...] = ()
    """Never to be read, in any table; PDU addresses."""


def planned(channels: Sequence[Channel], caps: Caps) -> tuple[Part, ...]:
    """Each channel in exactly one request.  ValueError names the one that cannot be read at all."""
    found: list[Part] = []
    for table in READ:
        members = [at for at, channel in enumerate(channels) if channel.table == table]
        bits = table in ("coil", "discrete")
        cost = 16 * caps.request_cost if bits else caps.request_cost
        limits = Limits(caps.most_bits if bits else caps.most, cost, caps.walls)
        found += [
            Part(table, Block(block.start, block.count, tuple(members[at] for at in block.members)))
            for block in _plan(tuple(channels[at].span for at in members), limits)
        ]
    return tuple(found)


def address_span(text: str | int, base: int = 0) -> Span:
    """`300` or `512-519` -> addresses as they stand on the wire."""
    first, _, last = str(text).partition("-")
    whole = str(text).isascii() and first.strip().isdecimal() and (last or first).strip().isdecimal()
    if not whole or int(last or first) < int(first):
        raise ValueError(f"{text!r} is not an address like 300 or a range like 512-519")
    return Span(int(first) - base, int(last or first) - int(first) + 1)


@cache
def _plan(spans: Sequence[Span], limits: Limits) -> tuple[Block, ...]:
    """The plan, made once for all devices of one map."""
    return plan(spans, limits)
