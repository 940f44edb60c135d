"""The line's current state, as documents by topic: retained on MQTT, shown on the console.

Only Line writes it.  Readers subscribe to be told which topic changed; they never wait and never block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.model import Json


class Board:
    """Topic below `<path>/state/` -> JSON document; None was removed."""

    def __init__(self) -> None:
        self._documents: dict[str, Json] = {}
        self._listeners: list[Callable[[str], None]] = []

    def set(self, topic: str, document: Json) -> None:
        """Put a document; listeners hear of it only if it changed."""
        if self._documents.get(topic) == document and topic in self._documents:
            return
        self._documents[topic] = document
        for listener in self._listeners:
            listener(topic)

    def get(self, topic: str) -> Json:
        return self._documents.get(topic)

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents)

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(topic)` on each change; returns the way to stop it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
