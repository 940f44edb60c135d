"""BARS R16: a dead gateway.  Killed, stopped, its loop blocked, its store hanging: the controllers notice and decide.

`LINEGATE_R16=small pytest tests/chaos/test_dead_gateway.py -m chaos -s` for a shorter one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from halt_kit import BEAT, COMMAND, STATE, Press, Unit

from gateway.demo.ports import free_port
from simulators.filler import Filler
from simulators.modbus import ILLEGAL_ADDRESS, ModbusError
from simulators.opcua_server import Place
from simulators.packml import Command, State
from simulators.packml_device import HEARTBEAT_LIMIT_S
from simulators.plant import Plant

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SMALL: Final = os.environ.get("LINEGATE_R16") == "small"
STOPPED_S: Final = 6.0 if SMALL else 30.0
SECONDS: Final = 8 if SMALL else 100
RESTARTS: Final = 2 if SMALL else 10
BEAT_S: Final = 0.5
LIMIT_S: Final = 3.0
"""WatchdogSec of the test's systemd."""
NOTICED_S: Final = 2.0
"""From a store's thread that hangs until the gateway withholds its heartbeats (gateway.recording)."""
SLACK_S: Final = 0.3
"""The simulated clocks' own step, and two shared cores."""
MOST_STEP_S: Final = 0.1
"""Where this process itself had no core for a while, that is no silence of the gateway's."""
TEMPERATURE: Final = 60
ROOT: Final = Path(__file__).resolve().parents[2]


class WatchedPress(Press):
    """A press with a thermometer whose controller holds it once our heartbeat stood still for two seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.celsius = 20
        self.wrote: list[int] = []
        self.watched = True
        self._age_s = 0.0

    def read(self, address: int, count: int) -> Sequence[int]:
        if address == TEMPERATURE and count == 1:
            return [self.celsius]
        if address != STATE or count != 1:
            raise ModbusError(ILLEGAL_ADDRESS)
        return super().read(address, count)

    def write(self, address: int, words: Sequence[int]) -> None:
        self.wrote.append(address)
        if address == BEAT:
            self._age_s = 0.0
        super().write(address, words)

    async def step(self, dt_s: float) -> None:
        await super().step(dt_s)
        self._age_s += dt_s
        if self.watched and self.wrote and self._age_s > HEARTBEAT_LIMIT_S:
            self.machine.command(Command.HOLD)


class Plants:
    """A filler on OPC UA and a press on Modbus, on the wall's own time, and a gateway process over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.filler = Filler(Plant(1), Place("127.0.0.1", 0, folder))
        self.press = WatchedPress()
        self.units: dict[str, Unit] = {"filler": self.filler, "press": self.press}  # type: ignore[dict-item]
        self.tripped: dict[str, float] = {}
        self.process: asyncio.subprocess.Process | None = None
        self.pings: list[float] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Plants]:
        for unit in self.units.values():
            await unit.start()
            unit.machine.found(State.EXECUTE)
        clock = asyncio.create_task(self._tick(), name="machines' clock")
        with self._systemd() as notify:
            try:
                await self.begin(notify)
                yield self
            finally:
                if self.process is not None and self.process.returncode is None:
                    self.process.kill()
                    await self.process.wait()
                clock.cancel()
                await asyncio.gather(clock, return_exceptions=True)
                for unit in self.units.values():
                    await unit.stop()

    @contextmanager
    def _systemd(self) -> Iterator[Path]:
        """Somebody who hears READY=1 and WATCHDOG=1."""
        path = self.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.bind(str(path))
            door.setblocking(False)
            loop = asyncio.get_running_loop()

            def heard() -> None:
                if b"WATCHDOG=1" in door.recv(4096):
                    self.pings.append(loop.time())

            loop.add_reader(door, heard)
            try:
                yield path
            finally:
                loop.remove_reader(door)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(0.02)
            now = loop.time()
            for name, unit in self.units.items():
                await unit.step(min(now - last, MOST_STEP_S))
                if unit.machine.state is not State.EXECUTE:
                    self.tripped.setdefault(name, now)
            last = now

    async def begin(self, notify: Path | None = None) -> None:
        """The gateway's process, until both machines have its heartbeat."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WATCHDOG_USEC": str(int(LIMIT_S * 1e6))}
        environment["NOTIFY_SOCKET"] = str(notify or self.folder / "notify")
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(Path(__file__).parent / "dying_gateway.py"),
                "run",
                str(self._settings()),
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment,
            )

    async def beating(self) -> None:
        """Both machines are beaten, run, and systemd is pinged."""
        await self.until(lambda: self.filler.writes and self.press.wrote and self.pings, "the gateway beats", 30)
        for unit in self.units.values():
            unit.machine.found(State.EXECUTE)
        await asyncio.sleep(1.5)
        self.tripped.clear()
        await asyncio.sleep(0.1)
        assert not self.tripped

    def _settings(self) -> Path:
        times = {"period": "100ms", "timeout": "500ms", "halt_budget": "500ms", "beat": f"{BEAT_S:g}s"}
        filler = {
            "driver": "opcua",
            "url": self.filler.link.address,
            "namespace": {"f": self.filler.link.uri},
            "profile": "packml-tags",
            "prefix": "f:Filler",
            "tags": {"dose": {"node": "f:Filler.Dose.Setpoint", "unit": "g"}},
            "halt": {"action": "hold"},
            "heartbeat": {"write": "f:Filler.Heartbeat.In"},
            "security": {"policy": "None", "mode": "None", "waiver": "a machine of this proof"},
            **times,
        }
        press = {
            "driver": "modbus",
            "url": f"tcp://{self.press.door.address}",
            "tags": {"state": {"address": STATE}, "temperature": {"address": TEMPERATURE, "unit": "Cel"}},
            "forbidden": ["51-59"],
            "halt": {"write": {"register": COMMAND, "value": 1}, "confirm": {"tag": "state", "in": [2, 9, 11]}},
            "heartbeat": {"register": BEAT},
            **times,
        }
        hot = {"kind": "limit", "input": "press/temperature", "limits": {"unit": "Cel", "high": 90}, "halt": "press"}
        dose = {"kind": "limit", "input": "filler/dose", "limits": {"unit": "g", "high": 50}, "halt": "filler"}
        document = {
            "gateway": {"id": "gw1", "path": "a/b/c/d/e", "state_dir": "state", "console": {"port": free_port()}},
            "devices": {"filler": filler, "press": press},
            "rules": {"hot": hot, "dose": dose},
        }
        file = self.folder / "line.yaml"
        if not file.exists():
            file.write_text(json.dumps(document))
        return file

    async def until(self, seen: Callable[[], object], what: str, within_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + within_s
        while not seen():
            log = (self.folder / "log").read_text()[-2000:]
            assert self.process is None or self.process.returncode is None, f"{what}: it ended\n{log}"
            assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {within_s:g} s\n{log}"
            await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> float:
        assert self.process is not None
        self.process.send_signal(number)
        return asyncio.get_running_loop().time()

    async def deviate(self, seconds: float) -> None:
        """Both machines have something that must halt them, for so long."""
        self.press.celsius = 99
        await self.filler.force("dose_setpoint", 99.0)
        await asyncio.sleep(seconds)
        self.press.celsius = 20
        await self.filler.force("dose_setpoint", None)

    def halting(self) -> list[str]:
        """What was written but heartbeats."""
        filler = [write.what for write in self.filler.writes if write.what != "Heartbeat.In"]
        return [*filler, *(f"register {address}" for address in self.press.wrote if address != BEAT)]

    def forget(self) -> None:
        self.filler.writes.clear()
        self.press.wrote[:] = [BEAT]  # it stays watched


DEATHS: Final = {
    "killed": signal.SIGKILL,
    "stopped": signal.SIGSTOP,
    "loop blocked": signal.SIGUSR1,
    "store hangs": signal.SIGUSR2,
}


@pytest.mark.parametrize("way", DEATHS)
async def test_the_controllers_notice(tmp_path: Path, way: str) -> None:
    """However it dies: both controllers hold within their two seconds and a beat, and systemd hears no more pings."""
    async with Plants(tmp_path).open() as plants:
        await plants.beating()
        died = plants.send(DEATHS[way])
        known = NOTICED_S if way == "store hangs" else 0.0
        bar_s = known + HEARTBEAT_LIMIT_S + BEAT_S
        await asyncio.sleep(max(bar_s, 2 * LIMIT_S) + 1.0)
        took = {name: plants.tripped.get(name, float("inf")) - died for name in plants.units}
        last_ping_s = max(plants.pings) - died
    _say(
        f"R16, {way}: held after {', '.join(f'{name} {seconds:.2f} s' for name, seconds in took.items())} "
        f"of {bar_s:g} s; last watchdog ping {last_ping_s:+.2f} s of {2 * LIMIT_S:g} s"
    )
    assert max(took.values()) <= bar_s + SLACK_S
    assert last_ping_s <= 2 * LIMIT_S


async def test_a_gateway_that_lives_is_not_taken_for_dead(tmp_path: Path) -> None:
    """Negative control: nothing trips while it lives, and the pings go on."""
    async with Plants(tmp_path).open() as plants:
        await plants.beating()
        await asyncio.sleep(2 * LIMIT_S)
        assert not plants.tripped, (tmp_path / "log").read_text()[-2000:]
        assert asyncio.get_running_loop().time() - max(plants.pings) < LIMIT_S


async def test_a_restart_asserts_latched_halts_first(tmp_path: Path) -> None:
    """Killed while latched, the machines restarted by somebody: the first write to each is the hold, every time."""
    first: list[str] = []
    async with Plants(tmp_path).open() as plants:
        await plants.beating()
        await plants.filler.fault("unwatched", {})
        plants.press.watched = False
        await plants.deviate(0.0)
        plants.press.celsius = 99
        await plants.filler.force("dose_setpoint", 99.0)
        await plants.until(lambda: all(u.machine.state is State.HELD for u in plants.units.values()), "both held", 10)
        plants.press.celsius = 20  # the cause is gone: only the latch can hold them
        await plants.filler.force("dose_setpoint", None)
        await asyncio.sleep(1.0)
        for _ in range(RESTARTS):
            plants.send(signal.SIGKILL)
            assert plants.process is not None
            await plants.process.wait()
            for unit in plants.units.values():
                unit.machine.found(State.EXECUTE)
            await plants.filler.publish()
            plants.forget()
            plants.press.wrote.clear()
            await plants.begin()
            held = lambda: all(u.machine.state is State.HELD for u in plants.units.values())  # noqa: E731  # a look
            await plants.until(held, "held again", 30)
            await plants.until(lambda: BEAT in plants.press.wrote, "beaten again", 30)
            first += [plants.filler.writes[0].what, f"register {plants.press.wrote[0]}"]
            await asyncio.sleep(0.5)
    _say(f"R16: {RESTARTS} restarts while latched, first writes: {', '.join(sorted(set(first)))}")
    assert set(first) <= {"CntrlCmd", "CmdChangeRequest", f"register {COMMAND}"}, "a request left TRUE falls first"


async def _after_a_stop(plants: Plants, stopped: bool) -> list[str]:
    """Both deviate for a second, in the midst of a stop or with the gateway awake: what was written for it."""
    await plants.beating()
    await plants.filler.fault("unwatched", {})
    plants.press.watched = False
    plants.forget()
    if stopped:
        plants.send(signal.SIGSTOP)
    await asyncio.sleep(STOPPED_S / 2)
    plants.forget()
    await plants.deviate(1.0)
    await asyncio.sleep(STOPPED_S / 2 - 1.0)
    if stopped:
        assert not plants.halting()
        plants.send(signal.SIGCONT)
        await plants.until(lambda: len(plants.press.wrote) > 3, "it goes on", 20)
    await asyncio.sleep(5.0)
    return plants.halting()


async def test_nothing_is_written_from_stale_data(tmp_path: Path) -> None:
    """Stopped and continued: what waited in the line meanwhile halts nobody."""
    async with Plants(tmp_path).open() as plants:
        wrote = await _after_a_stop(plants, stopped=True)
    _say(f"R16: after {STOPPED_S:g} s of SIGSTOP {len(wrote)} writes from stale data")
    assert not wrote


async def test_a_gateway_that_is_awake_does_write(tmp_path: Path) -> None:
    """Negative control: the very same deviation halts both where nobody was stopped."""
    async with Plants(tmp_path).open() as plants:
        wrote = await _after_a_stop(plants, stopped=False)
    assert {"CntrlCmd", f"register {COMMAND}"} <= set(wrote)


async def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    """Every time, with exit code 4; the first one goes on beating."""
    refused: list[int | None] = []
    async with Plants(tmp_path).open() as plants:
        await plants.beating()
        document = json.loads((tmp_path / "line.yaml").read_text())

        async def second(number: int) -> None:
            document["gateway"]["console"]["port"] = free_port()
            file = tmp_path / f"second{number}.yaml"
            file.write_text(json.dumps(document))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.cli", "run", str(file)),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            refused.append(await asyncio.wait_for(process.wait(), 60))

        for start in range(0, SECONDS, 2):
            await asyncio.gather(*(second(number) for number in range(start, min(start + 2, SECONDS))))
        tripped: dict[str, Any] = dict(plants.tripped)
        assert plants.process is not None
        assert plants.process.returncode is None
    _say(f"R16: {refused.count(4)} of {len(refused)} second instances refused; first one's beats lost: {len(tripped)}")
    assert refused == [4] * SECONDS
    assert not tripped, (tmp_path / "log").read_text()[-2000:]


def _say(what: str) -> None:
    print(what, flush=True)  # noqa: T201  # a promise prints its figure
