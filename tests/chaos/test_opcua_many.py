"""Ten thousand nodes: browsed, read and watched in requests of the size a server takes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asyncua import ua

from gateway.drivers.opcua.browse import VARIABLE, walk
from gateway.drivers.opcua.connect import open_link
from gateway.drivers.opcua.kind import OpcUaConfig
from tests.opcua_peer import URI, Remote, peer

MANY = 10_000
OPEN = {"policy": "None", "mode": "None", "waiver": "loopback"}
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


async def _grow(machine: Any) -> None:
    folder = await machine.server.nodes.objects.add_folder(ua.NodeId("Many", machine.index), "Many")
    for at in range(MANY):
        await folder.add_variable(ua.NodeId(f"Many.v{at}", machine.index), f"v{at}", float(at))


@pytest.fixture(scope="module")
def machine() -> Iterator[Remote]:
    with peer() as running:
        asyncio.run_coroutine_threadsafe(_grow(running.peer), running.loop).result(600)
        yield running


async def test_ten_thousand_are_browsed(machine: Remote) -> None:
    """Every node is found once, with its type and value."""
    told: list[int] = []
    began = time.monotonic()
    security = OpcUaConfig.model_validate(
        {"driver": "opcua", "url": machine.url, "tags": {"t": {"node": "i=2258"}}, "security": OPEN}
    ).security
    async with open_link("many", machine.url, security) as link:
        tree, cut = await walk(link, ua.NodeId(ua.ObjectIds.ObjectsFolder), 3, 100_000, told.append)
    took_s = time.monotonic() - began

    values = {node.name: node.value for node in tree.all() if node.kind == VARIABLE and node.name.startswith("v")}
    assert not cut
    assert values == {f"v{at}": str(float(at)) for at in range(MANY)}
    assert told
    sys.stdout.write(f"\n{MANY} nodes browsed, typed and read in {took_s:.1f} s\n")


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_ten_thousand_are_tags(machine: Remote, mode: str) -> None:
    """Connected within the station's patience, and a change of one of them is seen."""
    made = OpcUaConfig.model_validate(
        {
            "driver": "opcua",
            "url": machine.url,
            "namespace": {"f": URI},
            "mode": mode,
            "timeout": "10s",
            "tags": {f"v[0..{MANY - 1}]": {"node": "f:Many.v{i}"}},
            "security": OPEN,
        }
    )
    began = time.monotonic()
    async with made.connect("many") as device:
        connected_s = time.monotonic() - began
        assert (await device.poll()).values == tuple(map(float, range(MANY)))
        changed = ua.DataValue(ua.Variant(-1.0, ua.VariantType.Double))
        await machine.run(machine.server.write_attribute_value(ua.NodeId("Many.v7777", machine.index), changed))
        async with asyncio.timeout(30):
            while (await device.poll()).values[7777] != -1.0:
                pass
    back = ua.DataValue(ua.Variant(7777.0, ua.VariantType.Double))
    await machine.run(machine.server.write_attribute_value(ua.NodeId("Many.v7777", machine.index), back))
    sys.stdout.write(f"\n{MANY} tags by {mode}: connected in {connected_s:.1f} s\n")
