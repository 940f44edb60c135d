"""A node-opcua server for the tests: written by others, with the OPC Foundation's own nodesets.  See peers/*.js."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
URI = "urn:test:node-opcua"
POLICIES = ["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]


class NodePeer:
    """The far end in our hand: `await peer.ask("state", state="Execute")`."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, pki: Path) -> None:
        self.url = url
        self.pki = pki
        self.process = process
        self._numbers = itertools.count(1)

    async def ask(self, what: str, **more: Any) -> Any:
        number = next(self._numbers)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": number, "do": what, **more}).encode() + b"\n")
        while True:
            answer = await _line(self.process)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    @property
    def certificate(self) -> Path:
        return self.pki / "server/own/certs/certificate.pem"


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next JSON line; what the library says to people is passed over."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while line := await process.stdout.readline():
            if line.startswith(b"{"):
                return dict(json.loads(line))
    raise AssertionError(f"the node-opcua server ended with {await process.wait()}; run scripts/servers")


@asynccontextmanager
async def node_peer(pki: Path, **given: Any) -> AsyncIterator[NodePeer]:
    """A running one; gone when the block ends."""
    script = given.pop("script", "opcua_server.js")
    command = ["node", str(PEERS / script), json.dumps({"pki": str(pki), **given})]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        ready = await _line(process)
        yield NodePeer(process, ready["url"], pki)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
