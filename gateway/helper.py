"""A process beside the gateway, for work that would hold up its loop: it ends with the gateway, however that ends.

A worker of a process pool holds both ends of the queue it waits at: left alone it outlives a kill -9 for ever.
"""

from __future__ import annotations

import os
from multiprocessing import parent_process
from threading import Thread


def end_with_parent() -> None:
    """In the worker, once, before its first work."""
    Thread(target=_watch, name="parent", daemon=True).start()


def _watch() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
