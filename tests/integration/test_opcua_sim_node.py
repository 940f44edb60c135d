"""Our simulated filler, seen by a client written by others (node-opcua)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from simulators.filler import Filler
from simulators.opcua_server import Place
from simulators.packml import State
from simulators.plant import Plant
from tests.opcua_node import PEERS


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Filler]:
    """A filler that executes, with its clock running."""
    made = Filler(Plant(5), Place("127.0.0.1", 0, folder))
    await made.start()
    made.machine.found(State.EXECUTE)

    async def run() -> None:
        while True:
            await asyncio.sleep(0.01)
            await made.step(0.01)

    clock = asyncio.create_task(run())
    try:
        yield made
    finally:
        clock.cancel()
        await asyncio.wait({clock})
        await made.stop()


async def client(filler: Filler, pki: Path, policy: str) -> dict[str, Any]:
    """What the client found and did; its own words where it failed."""
    given = {
        "url": filler.addresses()["url"],
        "pki": str(pki),
        "policy": policy,
        "unit": "Filler",
        "uri": filler.link.uri,
    }
    process = await asyncio.create_subprocess_exec(
        "node",
        str(PEERS / "opcua_client.js"),
        json.dumps(given),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return dict(json.loads(out.splitlines()[-1]))


async def test_a_stranger_holds_the_filler(tmp_path: Path) -> None:
    """It browses every node, reads state and time stamps, calls Hold, and is refused where nothing may be written."""
    async with running(tmp_path) as filler:
        seen = await client(filler, tmp_path / "client", "Basic256Sha256")

        assert seen["unit"]
        assert {f"Filler.{path}" for path in Filler.nodes.values()} <= set(seen["names"])
        assert (seen["before"], seen["hold"], seen["after"]) == ("Execute", "Good", "Held")
        assert (seen["state"], seen["stamped"]) == (11, True)
        assert seen["refused"].startswith("Bad")
        assert seen["nothing"] == "BadNodeIdUnknown"
        assert filler.machine.state is State.HELD
