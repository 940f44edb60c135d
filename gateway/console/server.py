"""Serves the loopback API inside the gateway's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.desk import Desk
from gateway.errors import LinegateError
from gateway.world import World

if TYPE_CHECKING:
    import uvicorn


def listen(host: str, port: int) -> socket.socket:
    """Bind now, so that a port in use is a clear error at start.  Raises LinegateError."""
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise LinegateError(
            f"console: port {port} on {host} cannot be opened ({error.strerror}); is another gateway running? "
            f"Set gateway.console.port to a free one."
        ) from None
    door.listen(64)  # whoever reads the token file may connect at once
    return door


def write_token(path: Path, address: tuple[str, int], token: str) -> None:
    """The token file: `http://host:port token`, readable by this user only."""
    host, port = address
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # of all, the one that is here
    name = f"[{name}]" if ":" in name else name
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"http://{name}:{port} {token}\n")
    draft.replace(path)  # whole or not at all: whoever waits for the file reads it at once


async def serve(desk: Desk, door: socket.socket, token_file: Path, world: World) -> None:
    """Until cancelled."""
    token = world.token()
    server = await asyncio.to_thread(_server, desk, token, world)
    write_token(token_file, door.getsockname()[:2], token)
    # a copy: uvicorn closes what it is given, and after a bug the console is started again
    serving = asyncio.create_task(server.serve(sockets=[door.dup()]), name="console server")
    try:
        await serving
    finally:
        server.should_exit = True
        serving.cancel()
        await asyncio.wait([serving])
        _hang_up(server)
        token_file.unlink(missing_ok=True)


def _hang_up(server: uvicorn.Server) -> None:
    """Cancelled or failed, uvicorn leaves its listeners open: they would take callers from the next server."""
    for listener in getattr(server, "servers", ()):
        listener.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()


def _server(desk: Desk, token: str, world: World) -> uvicorn.Server:
    """Ready to serve.  FastAPI and uvicorn are imported here, and the routes made up: half a second of a processor.

    In a thread: on a busy machine that is seconds, in which no heartbeat would go out.
    """
    import uvicorn

    from gateway.console.api import build
    from gateway.console.sessions import Sessions

    class Server(uvicorn.Server):
        """Signals are app.py's."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    sessions = Sessions(world)
    desk.staff.changed.append(sessions.end)
    config = uvicorn.Config(
        build(desk, token, sessions), log_config=None, access_log=False, lifespan="off", timeout_keep_alive=5
    )
    config.load()
    return Server(config)
