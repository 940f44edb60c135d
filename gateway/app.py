"""The composition root: builds everything, one TaskGroup, signals, exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import signal
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from gateway import __version__
from gateway.board import Board
from gateway.commands import execute
from gateway.config import Settings
from gateway.desk import Desk
from gateway.errors import LinegateError, Refused, StoreError
from gateway.forwarder import Forwarder
from gateway.journal import Journal
from gateway.line import Line
from gateway.line_batch import Run
from gateway.line_halts import Holds
from gateway.model import Identity, Json, Lane, Principal, Priority, Severity, Verdict
from gateway.people import People
from gateway.sinks.base import SinkPorts
from gateway.station import Station
from gateway.store.evidence import Evidence
from gateway.store.latches import LatchFile
from gateway.store.telemetry import Telemetry
from gateway.store.telemetry_file import Shed
from gateway.supervise import Supervisor, notify
from gateway.world import World

log = structlog.get_logger()

CHECKPOINT_S: Final = 60.0
EACH_MINUTE: Final = "each minute"


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
        self.supervisor = Supervisor()
        self.workers = ProcessPoolExecutor(1, get_context("spawn"))
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
        self.stations = self._stations()
        self.holds.stations = self.stations
        self.forwarders = self._forwarders()
        telemetry.attend([name for name, config in settings.sinks.items() if config.wants_scans])
        telemetry.on_shed(self._shed)

    def _stations(self) -> dict[str, Station]:
        next_seq: Callable[[], int] = itertools.count(1).__next__
        return {
            name: Station(name, config, self.settings.tagsets[name], self.line, self.world, next_seq)
            for name, config in self.settings.devices.items()
        }

    def _forwarders(self) -> list[Forwarder]:
        made = []
        for name, config in self.settings.sinks.items():
            ports = SinkPorts(
                identity=self.identity,
                ledger_id=self.evidence.ledger_id,
                board=self.board,
                on_command=self._command,
                on_acknowledged=self.line.acknowledged_by_mes,
                checkpoint=self.evidence.checkpoint,
            )
            forwarder = Forwarder(name, config, self.evidence, self.telemetry, ports, self.world)
            forwarder.on_late_ack = self.line.late_acknowledgement
            if config.wants_scans:
                self.line.live.append(forwarder.offer)
            made.append(forwarder)
        return made

    def _save_latches(self, latches: Mapping[str, Json]) -> None:
        self._latch_thread.submit(self.latch_file.write, dict(latches)).add_done_callback(_tell_failure)

    async def _command(self, name: str, arguments: Mapping[str, Json], principal: str) -> Json:
        """A command that came by MQTT: the broker's ACL let it through; its role is `mes`."""
        who = Principal(principal, frozenset({"mes"}), "mqtt", principal)
        try:
            return {"ok": True, "result": await execute(self.desk, name, arguments, who)}
        except Refused as refusal:
            return {"ok": False, "code": refusal.code, "message": str(refusal)}

    # -- start and stop --------------------------------------------------------------------------

    def restore(self) -> None:
        """What stood at the last stop stands again: batch, rules, alarms, latches.  Latches first reach stations."""
        mono_ns = int(asyncio.get_running_loop().time() * 1e9)
        self.run.restore()
        self.line.restore(self.evidence.load_state("alarm"))
        self.holds.restore(self.evidence.load_state("halt"), self.latch_file.read(), mono_ns)
        self._note_start()
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
        for what in (self.evidence.quarantined, self.telemetry.quarantined):
            if what:
                facts = {"text": what} if isinstance(what, str) else msgspec.to_builtins(what)
                body = {key: value if isinstance(value, str) else str(value) for key, value in facts.items()}
                self.journal.note("store.quarantined", body, batch=self.run.running, lane=Lane.ALARMS)
                self._alarm("store-quarantined", f"a damaged store was put aside: {body}")

    def _alarm(self, rule: str, text: str) -> None:
        verdict = Verdict(rule, Severity.ALARM, "gateway", text, priority=Priority.HIGH, fleeting=True)
        self.holds.alarm(verdict)
        self.journal.commit()

    async def serve(self, door: socket.socket, token_file: Path) -> None:
        """Until cancelled, or until the store fails (StoreError)."""
        self.supervisor.on_failure = lambda name, text: self._alarm(f"task:{name}", f"task {name} failed: {text}")
        async with asyncio.TaskGroup() as tasks:
            for name, station in self.stations.items():
                tasks.create_task(self.supervisor.keep(f"station {name}", station.run), name=f"station {name}")
            tasks.create_task(self.supervisor.keep("line timer", self.line.tick_for_ever), name="line timer")
            for forwarder in self.forwarders:
                task = f"sink {forwarder.name}"
                tasks.create_task(self.supervisor.keep(task, forwarder.run), name=task)
            tasks.create_task(self.supervisor.keep("checkpoints", self._checkpoints), name="checkpoints")
            tasks.create_task(self.supervisor.watchdog(self._progress), name="watchdog")
            tasks.create_task(self._store_failure(), name="store failure")
            tasks.create_task(self._console(door, token_file), name="console")

    async def _console(self, door: socket.socket, token_file: Path) -> None:
        await asyncio.sleep(0.2)  # the first polls go before the console's imports, and those never hold the loop
        await asyncio.to_thread(importlib.import_module, "gateway.console.api")
        from gateway.console.server import serve

        await serve(self.desk, door, token_file, self.world)

    async def _store_failure(self) -> None:
        raise await asyncio.shield(self.evidence.failure)

    async def _checkpoints(self) -> None:
        """Each minute: a root over the telemetry stored since, and a signed checkpoint for witnesses."""
        while True:
            why = await self._worth_a_witness()
            covered = self.telemetry.root_since_last() if why == EACH_MINUTE else None
            if covered is not None:
                self.journal.note("telemetry.root", _strings(covered._asdict()), batch=self.run.running)
            await self.journal.durable()
            await self.evidence.sign_checkpoint(why)

    async def _worth_a_witness(self) -> str:
        """Batch start and end and every halt at once; else each minute.  The reason, for the note."""
        try:
            async with asyncio.timeout(CHECKPOINT_S):
                return await self.journal.witnessed()
        except TimeoutError:
            return EACH_MINUTE

    def _shed(self, shed: Shed) -> asyncio.Future[None] | None:
        """Telemetry that went before a sink had it: the exact gap, recorded."""
        self.journal.note("telemetry.shed", _strings(msgspec.to_builtins(shed)), batch=self.run.running)
        return self.journal.commit()

    def _progress(self) -> dict[str, int]:
        return {"line": self.line.progress}

    async def stop(self, why: str) -> None:
        """The last records, a checkpoint, then the files."""
        notify("STOPPING=1")
        with contextlib.suppress(StoreError):
            self.journal.note("gateway.stopped", {"why": why, "boot": self.world.boot_id}, batch=self.run.running)
            await self.journal.durable()
            await self.evidence.sign_checkpoint("shutdown")
        await self.telemetry.close()
        await self.evidence.close()
        self._latch_thread.shutdown(wait=True)
        self.workers.shutdown(wait=False, cancel_futures=True)


def _strings(facts: Mapping[str, Json]) -> dict[str, Json]:
    """A record body: counters and positions as decimal strings."""
    return {key: value if isinstance(value, (str, dict)) else str(value) for key, value in facts.items()}


def _tell_failure(done: object) -> None:
    error = done.exception()  # type: ignore[attr-defined]
    if error is not None:
        log.error("latch file not written", reason=str(error), next="the ledger keeps the latches")


async def run(settings: Settings, world: World | None = None, started: Callable[[Gateway], None] | None = None) -> str:
    """Run until SIGTERM or SIGINT; returns why it stopped.  Raises LinegateError when it cannot start or go on."""
    world = world or World()
    state = Path(settings.gateway.state_dir)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    door = _door(settings)
    loop = asyncio.get_running_loop()
    evidence = Evidence.open(state, gateway_id=settings.gateway.id, world=world, loop=loop)
    cap = settings.gateway.telemetry_cap_bytes
    telemetry = Telemetry.open(state, writer=evidence.writer, world=world, max_bytes=cap)
    gateway = Gateway(settings, evidence, telemetry, world)
    for config in settings.devices.values():
        config.preload()
    gateway.restore()
    if started is not None:
        started(gateway)
    return await _until_told(gateway, door, state / "console.token")


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
    serving.cancel()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    except BaseExceptionGroup as errors:
        ours, bugs = errors.split(LinegateError)
        if ours is None or bugs is not None:
            raise
        raise LinegateError("; ".join(map(str, ours.exceptions))) from None
    finally:
        await gateway.stop(why)
    return why


def _tell(told: asyncio.Future[str], name: str) -> None:
    if not told.done():
        told.set_result(name)
