"""The label applicator: OPC UA, PackML, and for each label what was printed and what the camera made of it.

The content nodes are published before `Label.Count`, so who acts on the count has the content.  Loading a roll shows
its leader; `Issued = Applied + Damaged`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from simulators.device import Fault, Value
from simulators.labelling import Print
from simulators.opcua_server import Place
from simulators.packml_device import PRODUCE, PackmlDevice
from simulators.plant import Plant

WRONG: Final = Print("WRONG-BATCH", "1A40603000000000WRONG000", 55.5, "WARN-0")


class Labeller(PackmlDevice):
    """The labeller: its rolls, its prints and what the camera says."""

    name = "labeller"
    sentence = "The label applicator: OPC UA, PackML, what was printed and what the camera made of it."
    title = "Labeller"
    nodes: ClassVar = {
        "state": "Status.StateCurrent",
        "mode": "Status.UnitModeCurrent",
        "speed": "Status.MachSpeed",
        "batch": "Label.Batch",
        "uid": "Label.Uid",
        "thc": "Label.Thc",
        "warning": "Label.Warning",
        "offset": "Label.OffsetMm",
        "verified": "Label.Verified",
        "issued": "Admin.Issued",
        "applied": "Admin.Applied",
        "damaged": "Admin.Damaged",
        "labels": "Label.Count",
    }
    tags = frozenset(nodes)
    own_faults: ClassVar = {
        **PackmlDevice.own_faults,
        "wrong_roll": Fault("The roll of another product is on, saying this.", "batch", "uid", "thc", "warning"),
        "misprint": Fault("The next `count` labels are misprinted; all of them without a count.", "count"),
    }

    def __init__(self, plant: Plant, place: Place) -> None:
        super().__init__(plant, place)
        self._right_roll: Print | None = None

    def values(self) -> dict[str, Value]:
        labelling = self.plant.labelling
        label = labelling.label
        return {
            "state": int(self.machine.state),
            "mode": PRODUCE,
            "speed": self.plant.labeller_per_s * 60.0,
            "batch": label.content.batch,
            "uid": label.content.uid,
            "thc": label.content.thc_pct,
            "warning": label.content.warning,
            "offset": label.offset_mm,
            "verified": label.verified,
            "issued": labelling.issued,
            "applied": labelling.applied,
            "damaged": labelling.damaged,
            "labels": labelling.applied,
        }

    def running_changed(self, running: bool) -> None:
        self.plant.labelling_on = running

    def load(self, content: Print, labels: int) -> None:
        """A person puts a roll on; a wrong one is off with it."""
        self.faults.pop("wrong_roll", None)
        self._right_roll = None
        self.plant.labelling.load(content, labels)

    def faults_changed(self) -> None:
        super().faults_changed()
        labelling = self.plant.labelling
        if "count" in self.faults.get("misprint", {}):
            labelling.misprints += int(self.faults.pop("misprint")["count"])  # so many, then it is over by itself
        labelling.misprinting = "misprint" in self.faults
        wrong = self.faults.get("wrong_roll")
        if wrong is not None and self._right_roll is None:
            self._right_roll = labelling.content or Print()
            labelling.load(_print(wrong, WRONG), labelling.remaining or 5000)
        elif wrong is None and self._right_roll is not None:
            labelling.load(self._right_roll, labelling.remaining)
            self._right_roll = None


def _print(args: dict[str, Any], otherwise: Print) -> Print:
    return Print(
        str(args.get("batch", otherwise.batch)),
        str(args.get("uid", otherwise.uid)),
        float(args.get("thc", otherwise.thc_pct)),
        str(args.get("warning", otherwise.warning)),
    )


def content_of(args: dict[str, Any]) -> Print:
    """Arguments of the control's `roll` -> what the labels say; what is not given is empty."""
    return _print(args, Print())
