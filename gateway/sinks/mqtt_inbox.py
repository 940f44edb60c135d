"""What the MES sends: its watermark, and requests with an answer.

A retained command says nothing of now and is ignored.  A request that comes again (same correlation data) gets the
same answer and is carried out once, also by another connection; another request under the same data is refused.  A
response topic must not let a request write into our own state or events.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, Final

import msgspec
import structlog

from gateway.errors import SinkError
from gateway.model import Json, Watermark
from gateway.sinks.base import SinkPorts
from gateway.sinks.encode import publish_properties, to_json
from gateway.sinks.mqtt_handover import REFUSED, Incoming
from gateway.sinks.mqtt_link import Link

log = structlog.get_logger()

COMMANDS_AT_ONCE: Final = 8
REMEMBERED: Final = 256
"""Answers kept by correlation data."""
LARGEST: Final = 1 << 18
"""Bytes of a message that are looked at: decoding 50 MB would keep every verdict waiting for two seconds.

The record of what is refused repeats it, and goes out by the same broker, which takes 1 MiB (deploy/mosquitto).
"""
DEEPEST: Final = 200
"""mosquitto hangs up on a topic of more levels."""
ENDS_S: Final = 1.0
"""So long a lost connection waits for what is being carried out."""


class Inbox:
    """Sorts what the link receives: `ack` and `cmd/<name>` below the path."""

    def __init__(self, name: str, path: str, principal: str | None, ports: SinkPorts) -> None:
        self._name = name
        self._path = path
        self._principal = principal
        self._ports = ports
        self._link: Link | None = None
        self._commands: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Task[bytes]] = set()
        self._answers: dict[bytes, tuple[bytes, asyncio.Task[bytes]]] = ports.answers
        """Correlation data -> (digest of the request, its answer)."""

    async def open(self, link: Link, *, acknowledgements: bool) -> None:
        """Subscribe.  SinkError: the link was lost."""
        self._link = link
        topics = [f"{self._path}/ack"] if acknowledgements else []
        if self._principal:
            topics.append(f"{self._path}/cmd/+")
        if not topics:
            return
        codes = await link.subscribe(topics)
        for topic, code in zip(topics, codes, strict=True):
            if code >= REFUSED:
                log.error("the broker refuses a subscription; its ACL must allow it", sink=self._name, topic=topic)

    async def close(self) -> None:
        """End the answering.  What is being carried out is not broken off: who asks again gets its answer."""
        for task in self._commands:
            task.cancel()
        await asyncio.gather(*self._commands, return_exceptions=True)
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=ENDS_S)

    def received(self, message: Incoming) -> None:
        """Called inside paho: only sort, never wait."""
        below = message.topic.removeprefix(f"{self._path}/")
        if below == "ack":
            self._watermark(message.payload)
        elif below.startswith("cmd/"):
            self._request(below.removeprefix("cmd/"), message)

    def _watermark(self, payload: bytes) -> None:
        try:
            mark = msgspec.json.decode(_bounded(payload), type=Watermark)
        except (ValueError, RecursionError) as error:
            log.warning("an acknowledgement cannot be read and was ignored", sink=self._name, error=str(error))
            return
        self._ports.on_acknowledged(mark)

    def _request(self, command: str, message: Incoming) -> None:
        link, topic = self._link, message.response_topic
        if link is None or message.retained:
            log.warning("a retained command was ignored: it says nothing of now", sink=self._name, command=command)
        elif topic is None or not self._may_answer(topic):
            log.warning("a command had no usable response topic", sink=self._name, command=command, topic=topic)
        else:
            task = asyncio.create_task(self._answer(link, topic, command, message), name=f"{self._name}: {command}")
            self._commands.add(task)
            task.add_done_callback(self._commands.discard)

    def _may_answer(self, topic: str) -> bool:
        inside = topic.startswith(f"{self._path}/") and not topic.startswith(f"{self._path}/reply/")
        sound = topic.isprintable() and topic.count("/") < DEEPEST  # on others a broker may hang up
        return bool(topic) and sound and not inside and not set(topic) & set("+#") and not topic.startswith("$")

    async def _answer(self, link: Link, topic: str, command: str, message: Incoming) -> None:
        reply = await self._reply(command, message)
        try:
            await link.send(topic, reply, publish_properties(correlation=message.correlation))
        except SinkError:
            log.warning("the answer to a command was lost with the link", sink=self._name, command=command)

    async def _reply(self, command: str, message: Incoming) -> bytes:
        """Under way or done already, by correlation data; else begun now."""
        asked = hashlib.sha256(command.encode() + b"\0" + message.payload[: LARGEST + 1]).digest()
        before, task = self._answers.get(message.correlation or b"", (asked, None))
        if before != asked:
            return to_json(_no("correlation-reused", "another request had this correlation data; give each its own"))
        if task is None:
            if len(self._under_way) >= COMMANDS_AT_ONCE:
                return to_json(_no("busy", f"{COMMANDS_AT_ONCE} commands are under way; ask again"))
            task = self._begin(command, message, asked)
        return await asyncio.shield(task)

    def _begin(self, command: str, message: Incoming, asked: bytes) -> asyncio.Task[bytes]:
        task = asyncio.create_task(self._carry_out(command, message), name=f"{self._name}: carry out {command}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        if message.correlation:
            self._answers[message.correlation] = asked, task
            if len(self._answers) > REMEMBERED:
                del self._answers[next(iter(self._answers))]
        return task

    async def _carry_out(self, command: str, message: Incoming) -> bytes:
        return to_json(await self._judge(command, message))

    async def _judge(self, command: str, message: Incoming) -> Json:
        principal = self._principal or ""
        claimed = dict(message.user).get("principal", principal)
        if claimed != principal:
            return _no("unknown-principal", f"commands here are those of {principal!r}, not of {claimed!r}")
        try:
            arguments = msgspec.json.decode(_bounded(message.payload) or b"{}", type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            return _no("bad-json", f"the request is no JSON object: {error}")
        return await self._ports.on_command(command, arguments, principal)


def _bounded(payload: bytes) -> bytes:
    """ValueError: larger than is looked at."""
    if len(payload) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    return payload


def _no(code: str, message: str) -> Json:
    return {"ok": False, "code": code, "message": message}
