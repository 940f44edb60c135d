"""The filler: OPC UA, PackML in both dialects, counters, dose setpoint, tray and nest, heartbeat.

Unit numbers count every dose from 1; tray and position follow from the number; a reject keeps its number.
"""

from __future__ import annotations

from typing import ClassVar, Final

from simulators.device import Fault, Value
from simulators.opcua_server import Place
from simulators.packml_device import PRODUCE, PackmlDevice
from simulators.plant import Plant

DRIFT_PER_UNIT: Final = -0.0005
CLOG: Final = 0.9


class Filler(PackmlDevice):
    """The filler: its values, its wear and what a running machine does."""

    name = "filler"
    sentence = "The filler: OPC UA, PackML by the companion model and by PackTags, dose setpoint."
    title = "Filler"
    nodes: ClassVar = {
        "state": "Status.StateCurrent",
        "mode": "Status.UnitModeCurrent",
        "speed": "Status.MachSpeed",
        "tray": "Tray.Id",
        "position": "Tray.Position",
        "rejects": "Admin.ProdDefectiveCount",
        "units": "Admin.ProdProcessedCount",
        "dose_setpoint": "Dose.Setpoint",
    }
    tags = frozenset(nodes)
    own_faults: ClassVar = {
        **PackmlDevice.own_faults,
        "pump_drift": Fault("Each dose is a little smaller than the last: a share of `per_unit`.", "per_unit"),
        "clogged_nozzle": Fault("A `share` of each dose comes out.", "share"),
    }

    def __init__(self, plant: Plant, place: Place) -> None:
        super().__init__(plant, place)
        self._wear = plant.pump.drift_per_unit

    def values(self) -> dict[str, Value]:
        filling = self.plant.filling
        last = filling.cartridges.get(filling.count)
        return {
            "state": int(self.machine.state),
            "mode": PRODUCE,
            "speed": self.plant.rate * 60.0,
            "tray": last.tray if last else f"{filling.tray_prefix}-T001",
            "position": last.position if last else 0,
            "rejects": filling.rejects,
            "units": filling.count,
            "dose_setpoint": self.plant.pump.setpoint_g,
        }

    def running_changed(self, running: bool) -> None:
        self.plant.filling_on = running

    def faults_changed(self) -> None:
        super().faults_changed()
        pump = self.plant.pump
        drift = self.faults.get("pump_drift")
        pump.drift_per_unit = self._wear if drift is None else float(drift.get("per_unit", DRIFT_PER_UNIT))
        clog = self.faults.get("clogged_nozzle")
        pump.clog = 1.0 if clog is None else float(clog.get("share", CLOG))

    def recalibrate(self) -> float:
        """Clean, mend and trim: dose on target in the oil as it is now; returns the dose, g."""
        for fault in ("pump_drift", "clogged_nozzle"):
            self.faults.pop(fault, None)
        self.faults_changed()
        self.plant.pump.recalibrate(self.plant.oil)
        return self.plant.pump.dose_g(self.plant.oil)

    async def _setpoint(self, value: object) -> None:
        self._note("Dose.Setpoint", value)
        if isinstance(value, float) and value > 0:
            self.plant.pump.setpoint_g = value
