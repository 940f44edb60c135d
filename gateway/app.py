"""The composition root: builds everything, one TaskGroup, signals, exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

from gateway import __version__
from gateway.board import Board
from gateway.commands.commands import execute
from gateway.config.reading import Settings
from gateway.desk import Desk
from gateway.errors import LinegateError, Refused, StoreError
from gateway.forwarder import Forwarder
from gateway.found import Found
from gateway.helper import end_with_parent
from gateway.journal import Journal
from gateway.line.batch import Run
from gateway.line.halts import Holds
from gateway.line.lamps import Lamps
from gateway.line.line import Line
from gateway.line.notices import Notices
from gateway.model import Identity, Json, Principal
from gateway.people import People
from gateway.recording import Pulse, Recording
from gateway.sinks.base import SinkPorts
from gateway.station.station import BACK_OFF, CONNECT_S, Station
from gateway.store.evidence import Evidence
from gateway.store.latches import LatchFile
from gateway.store.telemetry import Telemetry
from gateway.store.telemetry_file import Shed
from gateway.store.writer import Turn
from gateway.supervise import Supervisor, notify
from gateway.witness import Witness, as_text
from gateway.world import World

P = ParamSpec("P")
T = TypeVar("T")

GOODBYE_S: Final = 1.5
"""So long the sinks may take to hand over the last records."""
GOODBYES: Final = 15


class Workers(Executor):
    """One process for what takes long, made when first needed: even an idle pool has a helper of 13 MB beside it."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, get_context("spawn"), end_with_parent)
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait, cancel_futures=cancel_futures)


class Gateway:
    """Everything of one run, built but not started."""

    def __init__(self, settings: Settings, evidence: Evidence, telemetry: Telemetry, world: World) -> None:
        state = Path(settings.gateway.state_dir)
        self.settings = settings
        self.world = world
        self.evidence = evidence
        self.telemetry = telemetry
        self.identity = Identity(settings.gateway.id, settings.gateway.path, world.boot_id, __version__)
        self.board = Board()
        self.journal = Journal(evidence, self.board)
        self.latch_file = LatchFile(state / "latches.json")
        self._latch_thread = ThreadPoolExecutor(1, "latches")
        self.holds = Holds(self.journal, world, self._save_latches)
        self.run = Run(settings, self.journal, evidence, world)
        self.line = Line(self.run, self.holds, self.journal, telemetry, world)
        self.people = People.open(state / "people.json", world)
        self.found = Found(evidence, telemetry, self.latch_file, self.people)
        self.supervisor = Supervisor()
        self.workers = Workers()
        self.desk = Desk(
            settings,
            self.identity,
            self.line,
            self.run,
            self.journal,
            self.people,
            evidence,
            telemetry,
            world,
            self.workers,
        )
        if self.desk.scans.watched:
            self.line.live.append(self.desk.scans.watch)
        self.stations = self._stations()
        self.holds.stations = self.desk.balances.stations = self.stations
        self.holds.patience_ns = {name: station.patience_ns for name, station in self.stations.items()}
        self.lamps = self._lamps()
        self.forwarders = self._forwarders()
        self.witness = Witness(self.journal, evidence, telemetry, lambda: self.run.running)
        haltable = [name for name, config in settings.devices.items() if config.haltable()]
        hold = settings.gateway.store_policy == "hold"
        self.recording = Recording(self.line, evidence, haltable, hold=hold)
        self.pulse = Pulse(self.line, evidence, self._mute, hold=hold)
        telemetry.attend([name for name, config in settings.sinks.items() if config.wants_scans])
        telemetry.on_shed(self._shed)
        self._store_beats = 0

    def _stations(self) -> dict[str, Station]:
        return {
            name: Station(name, config, self.settings.tagsets[name], self.line, self.world, self.line.next_seq)
            for name, config in self.settings.devices.items()
        }

    def _mute(self, mute: bool) -> None:
        for station in self.stations.values():
            station.mute = mute

    def _lamps(self) -> Lamps:
        lights = {name: self.stations[name] for name, config in self.settings.devices.items() if config.shows}
        lamps = Lamps(self.board, self.line.alarms, self.holds, self.run, lights, self.line.commit)
        if lights:
            self.line.live.append(lamps.watch)
        return lamps

    def _forwarders(self) -> list[Forwarder]:
        made = []
        for name, config in self.settings.sinks.items():
            ports = SinkPorts(
                identity=self.identity,
                ledger_id=self.evidence.ledger_id,
                board=self.board,
                on_command=self._command,
                on_acknowledged=partial(self.line.consumers.acknowledged, name),
                checkpoint=self.evidence.checkpoint,
                steady_ns=self.world.steady_ns,
            )
            forwarder = Forwarder(name, config, self.evidence, self.telemetry, ports, self.world)
            forwarder.on_late_ack = self.line.consumers.late
            forwarder.on_rejected = self.line.consumers.rejected
            forwarder.on_ahead = self.line.consumers.ahead
            if config.wants_scans:
                self.line.live.append(forwarder.offer)
            made.append(forwarder)
        return made

    def _save_latches(self, latches: Mapping[str, Json]) -> None:
        saving = asyncio.get_running_loop().run_in_executor(self._latch_thread, self.latch_file.write, dict(latches))
        saving.add_done_callback(self._latches_saved)

    def _latches_saved(self, saving: asyncio.Future[None]) -> None:
        error = None if saving.cancelled() else saving.exception()
        text = f"the latch file cannot be written ({error}); only the ledger keeps the latches" if error else ""
        self.line.alarms.stand("gateway:latches", text)
        self.line.commit()

    async def _command(self, name: str, arguments: Mapping[str, Json], principal: str) -> Json:
        """A command that came by MQTT: the broker's ACL let it through; its role is `mes`."""
        who = Principal(principal, frozenset({"mes"}), "mqtt", principal)
        try:
            return {"ok": True, "result": await execute(self.desk, name, arguments, who)}
        except Refused as refusal:
            return {"ok": False, "code": refusal.code, "message": str(refusal)}

    # -- start and stop --------------------------------------------------------------------------

    def restore(self) -> None:
        """What stood at the last stop stands again: latches, alarms, batch, rules."""
        known = {*self.settings.devices, *self.settings.sinks}
        mono_ns = int(asyncio.get_running_loop().time() * 1e9)
        self.line.restore(
            self.evidence.load_state, self.found.latches(), known, mono_ns, newest_ns=self.evidence.newest_ns
        )
        self._note_start()
        self.found.tell(self.journal, self.line, self.run.running)
        self.recording.attend()
        self.lamps.show()
        self.journal.commit(urgent=True)

    def _note_start(self) -> None:
        body = {
            "version": __version__,
            "boot": self.world.boot_id,
            "config": self.settings.hash,
            "rules": self.settings.rules_hash,
            "devices": {name: config.address() for name, config in self.settings.devices.items()},
            "clock": self.world.clock(),
            "waivers": list(self.settings.waivers()),
        }
        self.journal.note("gateway.started", body, batch=self.run.running)

    def _task_failed(self, name: str, text: str) -> None:
        self.line.alarms.tell(f"task:{name}", f"task {name} failed: {text}")
        self.line.commit()

    async def serve(self, door: socket.socket, token_file: Path) -> None:
        """Until cancelled, or until the store fails (StoreError)."""
        self.supervisor.on_failure = self._task_failed
        kept: dict[str, Callable[[], Awaitable[None]]] = {
            **{f"station {name}": station.run for name, station in self.stations.items()},
            "line timer": self.line.tick_for_ever,
            **{f"sink {forwarder.name}": forwarder.run for forwarder in self.forwarders},
            "checkpoints": self.witness.run,
            "store's pulse": self.pulse.run,
            "notices": Notices(self.settings.devices, self.line.alarms, self.line.commit).run,
            "console": partial(self._console, door, token_file),
        }
        async with asyncio.TaskGroup() as tasks:
            for name, run in kept.items():
                tasks.create_task(self.supervisor.keep(name, run), name=name)
            tasks.create_task(self.supervisor.watchdog(self._progress, self._patience()), name="watchdog")
            tasks.create_task(self.recording.fail(), name="store failure")

    async def _console(self, door: socket.socket, token_file: Path) -> None:
        await asyncio.sleep(0.2)  # the first polls go before the console's imports
        from gateway.console.server import serve

        await serve(self.desk, door, token_file, self.world)

    def _shed(self, shed: Shed) -> asyncio.Future[None] | None:
        """Telemetry that went before a sink had it: the exact gap, recorded."""
        self.journal.note("telemetry.shed", as_text(msgspec.to_builtins(shed)), batch=self.run.running)
        return self.journal.commit()

    def _progress(self) -> dict[str, int]:
        """What must go on for the gateway to be alive: the line's timer, every station, the stores' thread."""
        self.evidence.writer.post(self._store_beat, Turn.READ)
        stations = {f"station {name}": station.progress for name, station in self.stations.items()}
        return {"line": self.line.progress, "store": self._store_beats, **stations}

    def _store_beat(self) -> None:
        self._store_beats += 1

    def _patience(self) -> dict[str, float]:
        """A station may be away for its longest back-off, and waits for its slot."""
        away_s = BACK_OFF.longest_s + CONNECT_S
        return {
            f"station {name}": away_s + config.period_s + config.timeout_s + config.halt_budget_s + config.tare_within_s
            for name, config in self.settings.devices.items()
        }

    async def farewell(self, why: str) -> None:
        """The last record and a checkpoint over it, while the sinks can still tell of them."""
        notify("STOPPING=1")
        self.line.farewell()
        self.journal.note("gateway.stopped", {"why": why, "boot": self.world.boot_id}, batch=self.run.running)
        with contextlib.suppress(StoreError, TimeoutError):  # a full disk keeps nobody from stopping
            async with asyncio.timeout(GOODBYE_S):
                await self.journal.durable()
                await self.evidence.sign_checkpoint("shutdown")
        self.board.set("gateway", {"stopping": why})  # stirs the sinks: what is retained is the last there is
        for _ in range(GOODBYES):
            await asyncio.sleep(GOODBYE_S / GOODBYES)
            sinks = [forwarder.status() for forwarder in self.forwarders]
            if not any(sink.connected and sink.unhanded for sink in sinks):
                return

    async def close(self) -> None:
        """The files, telemetry first: it shares the evidence store's thread."""
        await self.telemetry.close()
        await self.evidence.close()
        self._latch_thread.shutdown(wait=True)
        self.people.close()
        self.workers.shutdown(wait=False, cancel_futures=True)


async def run(settings: Settings, world: World | None = None, started: Callable[[Gateway], None] | None = None) -> str:
    """Run until SIGTERM or SIGINT; returns why it stopped.  Raises LinegateError when it cannot start or go on."""
    world = world or World()
    door = _door(settings)  # before anything is touched: a port in use leaves no trace
    state = Path(settings.gateway.state_dir)
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"the state folder {state} cannot be made: {error.strerror}") from error
    loop = asyncio.get_running_loop()
    evidence = Evidence.open(state, gateway_id=settings.gateway.id, world=world, loop=loop)
    cap = settings.gateway.telemetry_cap_bytes
    telemetry = Telemetry.open(state, writer=evidence.writer, world=world, max_bytes=cap)
    gateway = Gateway(settings, evidence, telemetry, world)
    try:
        token_file = state / "console.token"
        token_file.unlink(missing_ok=True)  # of a run that was killed: whoever waits for it waits for ours
        for config in settings.devices.values():
            config.preload()
        gateway.restore()
        if started is not None:
            started(gateway)
        return await _until_told(gateway, door, token_file)
    finally:
        await gateway.close()


def _door(settings: Settings) -> socket.socket:
    console = settings.gateway.console
    from gateway.console.server import listen

    return listen(console.host, console.port)


async def _until_told(gateway: Gateway, door: socket.socket, token_file: Path) -> str:
    loop = asyncio.get_running_loop()
    told: asyncio.Future[str] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _tell, told, number.name)
    serving = asyncio.create_task(gateway.serve(door, token_file), name="gateway")
    waiting: set[asyncio.Future[Any]] = {serving, told}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    why = told.result() if told.done() else "a task failed"
    await gateway.farewell(why)
    serving.cancel()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    except BaseExceptionGroup as errors:
        ours, bugs = errors.split(LinegateError)
        if ours is None or bugs is not None:
            raise
        raise LinegateError("; ".join(map(str, ours.exceptions))) from None
    return why


def _tell(told: asyncio.Future[str], name: str) -> None:
    if not told.done():
        told.set_result(name)
