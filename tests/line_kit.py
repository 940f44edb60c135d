"""A whole small line without a network: fake machines, real rules, stations, line and commands; a store in memory.

async with Kit(tmp_path) as kit:              # on a virtual clock
    kit.oven["temperature"] = 80.0            # what the machine shows
    await asyncio.sleep(1)
    kit = await kit.again()                   # kill -9 and a new process on what was stored
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field

from gateway.board import Board
from gateway.commands.commands import execute
from gateway.config.kinds import House as Builtin
from gateway.config.reading import House, Kinds, Settings, load
from gateway.desk import Desk
from gateway.drivers.base import DriverConfig
from gateway.errors import DeviceError, StoreError
from gateway.journal import Journal
from gateway.ledger.canonical import canonical
from gateway.ledger.merkle import leaf_hash
from gateway.line.batch import Run
from gateway.line.halts import Holds
from gateway.line.line import Line
from gateway.model import Draft, Fault, Identity, Json, Lane, Principal, Quality, Reading, Record, Scan, TagSpec, Value
from gateway.people import People
from gateway.recipe import Frozen
from gateway.station.station import Station
from gateway.store.evidence import Sealed
from gateway.testing import FakeDevice, FakeMachine, VirtualWorld

EXECUTE, STOPPED, HELD = 6, 2, 11


class Tag(Frozen):
    unit: str = "1"
    kind: Literal["number", "decimal", "bool", "text"] = "number"


class Machine(FakeMachine):
    """A fake machine that shows None as a bad value, and tells a log what was written to it."""

    def __init__(self, values: Mapping[str, Value], log: list[str]) -> None:
        super().__init__(values)
        self.log = log
        self.identity: dict[str, str] = {"maker": "fake"}
        self.settled = True
        """False: numbers are uncertain, as of a balance that swings."""

    def __setitem__(self, tag: str, value: Value) -> None:
        self.values[tag] = value


class KitDevice(FakeDevice):
    """Shows held as PackML does, where it has a state."""

    machine: Machine

    def __init__(self, machine: Machine, *, halts: bool) -> None:
        super().__init__(machine)
        self.identity = machine.identity
        self._halts = halts

    async def poll(self) -> Reading:
        await self._link()
        machine = self.machine
        machine.polls += 1
        values = dict(machine.values)
        if machine.held and "state" in values:
            values["state"] = HELD
        faults = {at: Fault(Quality.BAD, "no value") for at, value in enumerate(values.values()) if value is None}
        if not machine.settled:
            faults = dict.fromkeys(range(len(values)), Fault(Quality.UNCERTAIN, "not stable"))
        return Reading(tuple(values.values()), faults, held=machine.held if self._halts else None)

    async def halt(self, order: Any) -> Any:
        self.machine.log.append(f"halt {order.id}")
        return await super().halt(order)


class KitConfig(DriverConfig):
    """A driver kind whose devices are Machines of the test that runs."""

    machines: ClassVar[dict[str, Machine]] = {}

    driver: Literal["kit"] = "kit"
    halts: ClassVar[bool] = True
    can_halt: bool = False
    can_tare: bool = False
    map_: dict[str, Tag] = Field(alias="tags")

    def haltable(self) -> bool:
        return self.can_halt

    def tarable(self) -> bool:
        return self.can_tare

    def tags(self) -> tuple[TagSpec, ...]:
        return tuple(TagSpec(name, tag.unit, tag.kind) for name, tag in self.map_.items())

    def address(self) -> str:
        return f"kit://{next(iter(self.map_))}"

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[Any]:
        machine = self.machines[name]
        if not machine.link:
            raise DeviceError(f"{name}: the link is down")
        machine.connects += 1
        device: Any = KitDevice(machine, halts=self.can_halt)
        yield device if self.can_halt else _Deaf(device)


class _Deaf:
    """A device that cannot be held."""

    def __init__(self, device: KitDevice) -> None:
        self.poll, self.tare, self.zero = device.poll, device.tare, device.zero
        self.identity = device.identity


LINE = """\
gateway:
  id: gw1
  path: acme/denver/filling/line3/cell1
  counters: {units: filler/units, rejects: filler/rejects, tray: filler/tray}
devices:
  oven: {driver: kit, period: 250ms, timeout: 200ms, tags: {temperature: {unit: Cel}}}
  balance: {driver: kit, can_tare: true, period: 250ms, timeout: 200ms, tags: {net: {unit: g, kind: decimal}}}
  filler:
    driver: kit
    can_halt: true
    period: 250ms
    timeout: 200ms
    halt_budget: 200ms
    beat: 500ms
    tags:
      state: {}
      units: {unit: "{count}"}
      rejects: {unit: "{count}"}
      tray: {kind: text}
      label: {kind: text}
rules:
  hot: {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 90}, halt: filler, alarm: high}
  warm: {kind: limit, input: oven/temperature, limits: recipe.windows.oil, alarm: medium}
  weight: {kind: sampling, plan: recipe.plans.every_10, weight: balance/net, count: filler/units,
           running: filler/state, tray: filler/tray, halt: filler}
  leaks: {kind: sampling, plan: recipe.plans.leaks, count: filler/units, running: filler/state, halt: filler}
  label: {kind: match, "on": filler/units, expect: {filler/label: batch.number}, halt: filler}
"""

RECIPE = """\
id: cart
version: "1"
name: A cartridge
sku: C-1
approved_by: QA
tray_size: 10
windows: {oil: {unit: Cel, low: 58, high: 66}}
plans:
  every_10:
    every_units: 10
    n: 1
    grace: 5s
    characteristics: [{name: weight, kind: variable, source: weighing,
                       window: {unit: g, target: 1, low: 0.95, high: 1.05}}]
  leaks: {every_units: 1000, n: 5, characteristics: [{name: leaks, kind: attribute, accept: 0}]}
verification_units: 2
label: {warning_code: W1}
before_start: [{id: clearance, text: The line is clear, role: operator}]
before_close: [{id: review, text: Reviewed, meaning: reviewed, role: qa}]
yields: {oil_per_unit: 1.00, min_percent: 95, max_percent: 101}
"""

OPERATOR = Principal("olga", frozenset({"operator"}), "http", "Olga Operator")
TECHNICIAN = Principal("tom", frozenset({"technician"}), "http", "Tom Technician")
SUPERVISOR = Principal("sue", frozenset({"supervisor"}), "http", "Sue Supervisor")
QA = Principal("quinn", frozenset({"qa"}), "http", "Quinn Quality")
MES = Principal("mes", frozenset({"mes"}), "mqtt", "mes")


def order(batch: str = "B1", **changed: Json) -> dict[str, Json]:
    """An order this line takes."""
    return {"order": f"PO-{batch}", "batch": batch, "sku": "C-1", "recipe": "cart", "quantity": 100,
            "uid": f"1A4FF{zlib.crc32(batch.encode()):019d}", **changed}  # fmt: skip


class Disk:
    """What survives a kill -9: committed records and rows, and the latch file."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.rows: dict[tuple[str, str], bytes] = {}
        self.latches: dict[str, Json] | None = {}
        self.ledger = "aa"


class MemoryEvidence:
    """The evidence store's face over a Disk.  `hold`: commits wait for `let()`; `full`, `broken`: as the words say."""

    def __init__(self, disk: Disk, world: VirtualWorld, log: list[str]) -> None:
        self.disk, self.world, self.log = disk, world, log
        self.context: dict[str, Json] = {}
        self.ledger_id = disk.ledger
        self.size = len(disk.payloads)
        self.newest_ns = int(json.loads(disk.payloads[-1])["time"]) if disk.payloads else 0
        self.hold = False
        self.degraded = ""
        self.failure: asyncio.Future[StoreError] = asyncio.get_running_loop().create_future()
        self.submits: list[tuple[list[str], list[tuple[str, str]]]] = []
        """(kinds of records, keys of rows) of each transaction."""
        self._waiting: list[tuple[list[bytes], dict[tuple[str, str], bytes | None], asyncio.Future[None]]] = []
        self._watchers: list[Callable[[str], None]] = []

    def submit(
        self, drafts: Sequence[Draft], state: Mapping[tuple[str, str], Json | None] = {}, *, urgent: bool = False
    ) -> Sealed:
        del urgent
        rows = {at: None if value is None else msgspec.json.encode(value) for at, value in state.items()}
        records, payloads = [], []
        for number, draft in enumerate(drafts):
            document = {"index": self.size + number, "kind": draft.kind, "batch": draft.batch, "by": draft.by,
                        "time": str(self.world.time_ns()), "body": dict(draft.body)}  # fmt: skip
            payload = canonical(document)
            payloads.append(payload)
            at = self.size + number
            records.append(Record(at, draft.kind, draft.batch, 0, draft.lane, leaf_hash(payload), payload))
        self.size += len(drafts)
        self.submits.append(([draft.kind for draft in drafts], list(rows)))
        self.log += [f"sealed {draft.kind}" for draft in drafts]
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.failure.done():
            self._fail(committed, self.failure.result())
        else:
            self._waiting.append((payloads, rows, committed))
            if not self.hold:
                asyncio.get_running_loop().call_soon(self.let)
        return Sealed(tuple(records), committed)

    def let(self) -> None:
        """Commit what waits."""
        waiting, self._waiting = self._waiting, []
        for payloads, rows, committed in waiting:
            self.disk.payloads += payloads
            for at, row in rows.items():
                if row is None:
                    self.disk.rows.pop(at, None)
                else:
                    self.disk.rows[at] = row
            if not committed.done():
                committed.set_result(None)

    def turn(self, reason: str) -> None:
        """The disk fills up, or has room again."""
        self.degraded = reason
        for watcher in self._watchers:
            watcher(reason)

    def break_down(self) -> None:
        """Nothing is stored any more; what waits is lost."""
        error = StoreError("the disk is gone")
        self.failure.set_result(error)
        waiting, self._waiting = self._waiting, []
        for _, _, committed in waiting:
            self._fail(committed, error)

    @staticmethod
    def _fail(committed: asyncio.Future[None], error: StoreError) -> None:
        committed.set_exception(error)
        committed.exception()  # seen

    def watch(self, watcher: Callable[[str], None]) -> Callable[[], None]:
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def load_state(self, kind: str) -> dict[str, Json]:
        return {key: msgspec.json.decode(row) for (each, key), row in self.disk.rows.items() if each == kind}

    async def read(
        self, after: int, limit: int, *, batch: str | None = None, lanes: Sequence[Lane] = ()
    ) -> list[Record]:
        """`lanes` is not looked at: who asks for one takes what kinds it wants."""
        del lanes
        documents = [json.loads(payload) for payload in self.disk.payloads]
        return [
            Record(at, each["kind"], each["batch"], int(each["time"]), Lane.EVIDENCE, b"", self.disk.payloads[at])
            for at, each in enumerate(documents)
            if at > after and batch in (None, each["batch"])
        ][:limit]

    def checkpoint(self) -> str:
        return ""

    async def sign_checkpoint(self, reason: str) -> str:
        return reason


class Plain:
    """A password hash that costs nothing."""

    def hash(self, password: str | bytes) -> str:
        return f"$plain${password!s}"

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002
        return self.hash(password) == hash


class Inline(ThreadPoolExecutor):
    """Work for a thread is done at once: a virtual clock would jump ahead while a real thread works."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # boundary: as a pool hands it on
            future.set_exception(error)
        return future


class Scans:
    """The telemetry store's face."""

    def __init__(self) -> None:
        self.kept: list[Scan] = []

    def put(self, scan: Scan) -> None:
        self.kept.append(scan)


class Kit:
    """One process of the gateway on one Disk."""

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk | None = None,
        machines: dict[str, Machine] | None = None,
        seed: int = 1,
        settings: Settings | None = None,
        line: str = LINE,
        recipe: str = RECIPE,
    ) -> None:
        self.folder, self.disk, self._seed = folder, disk or Disk(), seed
        self.log: list[str] = []
        """What was written to machines and sealed in the ledger, in the order it happened."""
        self.machines = machines or _machines(self.log)
        for machine in self.machines.values():
            machine.log = self.log
        KitConfig.machines = self.machines
        self.settings = settings or load(_written(folder, line, recipe), house=HOUSE)
        self.world = VirtualWorld(seed=seed)
        self.evidence: Any = MemoryEvidence(self.disk, self.world, self.log)
        self.telemetry: Any = Scans()
        self.board = Board()
        self.journal = Journal(self.evidence, self.board)
        self.holds = Holds(self.journal, self.world, self._save)
        self.keeps_latches = True
        """False: the latch file cannot be written any more."""
        self.run = Run(self.settings, self.journal, self.evidence, self.world)
        self.line = Line(self.run, self.holds, self.journal, self.telemetry, self.world)
        self.people = People.open(folder / "people.json", self.world, hasher=Plain())
        self.people._worker = Inline()
        identity = Identity("gw1", self.settings.gateway.path, self.world.boot_id, "0")
        self.desk = Desk(
            self.settings, identity, self.line, self.run, self.journal, self.people, self.evidence, self.telemetry,
            self.world, None,  # type: ignore[arg-type]
        )  # fmt: skip
        self.stations = {
            name: Station(name, config, self.settings.tagsets[name], self.line, self.world, self.line.next_seq)
            for name, config in self.settings.devices.items()
        }
        self.holds.stations = self.desk.balances.stations = self.stations
        self._tasks: list[asyncio.Task[Any]] = []
        self._next: Kit | None = None

    def _save(self, latches: Mapping[str, Json]) -> None:
        if self.keeps_latches:
            self.disk.latches = json.loads(json.dumps(dict(latches)))

    # -- its life

    def start(self) -> Kit:
        asyncio.get_running_loop().set_default_executor(Inline())
        mono_ns = int(asyncio.get_running_loop().time() * 1e9)
        known = {*self.settings.devices, *self.settings.sinks}
        latches = None if self.disk.latches is None else dict(self.disk.latches)
        self.line.restore(self.evidence.load_state, latches, known, mono_ns, newest_ns=self.evidence.newest_ns)
        self.journal.commit(urgent=True)
        works = [*(station.run() for station in self.stations.values()), self.line.tick_for_ever()]
        self._tasks = [asyncio.ensure_future(work) for work in works]
        return self

    async def kill(self) -> None:
        """Kill -9: whatever was not committed is gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.evidence.hold = True
        self.evidence._waiting.clear()
        self.keeps_latches = False
        self.people.close()

    async def again(self, **changed: Any) -> Kit:
        """Kill -9, and the next process on what this one left; the machines went on meanwhile."""
        await self.kill()
        kept = {"disk": self.disk, "machines": self.machines, "settings": self.settings}
        self._next = Kit(self.folder, seed=self._seed + 1, **{**kept, **changed})
        return self._next.start()

    async def __aenter__(self) -> Self:
        self.start()
        await asyncio.sleep(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        last: Kit | None = self
        while last is not None:
            await last.kill()
            last = last._next

    # -- machines

    @property
    def oven(self) -> Machine:
        return self.machines["oven"]

    @property
    def filler(self) -> Machine:
        return self.machines["filler"]

    @property
    def balance(self) -> Machine:
        return self.machines["balance"]

    def make(self, units: int) -> None:
        """The filler makes so many; trays of ten."""
        if self.filler.held:
            return
        made = int(self.filler.values["units"] or 0) + units  # type: ignore[arg-type]
        self.filler.values.update(units=made, tray=f"T{max(made - 1, 0) // 10 + 1}")

    async def weigh(self, grams: str) -> None:
        """A cartridge on the empty pan, seen by a poll each."""
        for value in ("0.000", grams):
            self.balance["net"] = Decimal(value)
            await asyncio.sleep(0.3)

    # -- a batch

    async def ask(self, name: str, who: Principal = TECHNICIAN, /, **arguments: Json) -> Json:
        """A command, proven."""
        return await execute(self.desk, name, arguments, who, proven=True)

    async def begin(self, batch: str = "B1") -> None:
        """Order, signature, start; the machine runs."""
        if not len(self.people):
            await self.people.add("olga", "Olga Operator", ["operator"], "correct horse")
            await self.people.add("quinn", "Quinn Quality", ["qa"], "correct horse")
            await self.people.add("sue", "Sue Supervisor", ["supervisor"], "correct horse")
        await self.ask("batch.order", MES, order=order(batch))
        await self.ask("batch.sign", OPERATOR, batch=batch, step="clearance")
        self.filler["label"] = batch
        await asyncio.sleep(0.3)
        await self.ask("batch.start", OPERATOR, batch=batch)
        await asyncio.sleep(0.5)

    # -- what became of it

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Committed ones, oldest first."""
        known = [json.loads(payload) for payload in self.disk.payloads]
        return [record for record in known if kind in (None, record["kind"])]

    def kinds(self) -> list[str]:
        return [record["kind"] for record in self.records()]


def _machines(log: list[str]) -> dict[str, Machine]:
    filler: dict[str, Value] = {"state": EXECUTE, "units": 0, "rejects": 0, "tray": "T1", "label": ""}
    return {
        "oven": Machine({"temperature": 62.0}, log),
        "balance": Machine({"net": Decimal("0.000")}, log),
        "filler": Machine(filler, log),
    }


def _written(folder: Path, line: str, recipe: str) -> Path:
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    if not (folder / "line.yaml").exists():
        (folder / "line.yaml").write_text(line)
        (folder / "recipes" / "cart.yaml").write_text(recipe)
    return folder / "line.yaml"


HOUSE = House(Kinds("driver", (KitConfig,)), Builtin().rules, Builtin().sinks)
