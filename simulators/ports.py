"""Ports of cables that are pulled and plugged in again: nobody else comes by one in the meantime."""

from __future__ import annotations

import socket
import weakref


def kept(host: str, owner: object) -> int:
    """Any free port, which stays `owner`'s as long as it lives.  OSError if none is free.

    A socket that is bound and never listens holds it: whoever connects is refused, its owner may listen beside it
    (both with SO_REUSEADDR, as asyncio's servers), and the kernel gives it to no outgoing connection.
    """
    keeper = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((host, 0))
    weakref.finalize(owner, keeper.close)
    return int(keeper.getsockname()[1])
