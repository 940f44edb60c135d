"""Kinds of our own for tests of the configuration: what they say is all in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from gateway.config.reading import House, Kinds
from gateway.drivers.base import DriverConfig
from gateway.model import TagSpec
from gateway.recipe import Exact, Frozen, Plan, Window
from gateway.rules.base import Judge, RuleConfig, RuleContext
from gateway.sinks.base import SinkConfig
from gateway.units import Duration


class Tag(Frozen):
    unit: str = "1"
    kind: Literal["number", "decimal", "bool", "text"] = "number"


class Tls(Frozen):
    ca: Path | None = None
    password: str = ""


class MachineConfig(DriverConfig):
    """A device whose tags stand in the file."""

    driver: Literal["machine"] = "machine"
    url: str
    map_: dict[str, Tag] = Field(default_factory=dict, alias="tags")
    can_halt: bool = False
    tls: Tls = Tls()
    waiver: str = ""
    missing: str = ""

    def tags(self) -> tuple[TagSpec, ...]:
        return tuple(TagSpec(name, tag.unit, tag.kind) for name, tag in self.map_.items())

    def address(self) -> str:
        return self.url

    def haltable(self) -> bool:
        return self.can_halt

    def preflight(self) -> list[str]:
        return [self.missing] if self.missing else []


class WithinConfig(RuleConfig):
    """A limit."""

    kind: Literal["within"] = "within"
    input: str
    limits: Window
    on_delay_s: Duration = Field(0.0, alias="on_delay")

    def inputs(self) -> tuple[str, ...]:
        return (self.input,)

    def build(self, name: str, context: RuleContext) -> Judge:
        device, _, tag = self.input.partition("/")
        if tag == "forbidden":
            raise ValueError(f"{device} says no")
        return None  # type: ignore[return-value]


class SampleConfig(RuleConfig):
    """A sampling plan, and a label: all that can be referred to."""

    needs_batch = True
    kind: Literal["sample"] = "sample"
    input: str
    plan: Plan | None = None
    expect: dict[str, Exact | str] = Field(default_factory=dict)

    def inputs(self) -> tuple[str, ...]:
        return (self.input, *self.expect)

    def build(self, name: str, context: RuleContext) -> Judge:
        return None  # type: ignore[return-value]


class FileConfig(SinkConfig):
    kind: Literal["file"] = "file"
    url: str = "file:"
    token: str = ""
    path: Path | None = None
    allow_plain: str = ""

    def address(self) -> str:
        return self.url


HOUSE = House(
    Kinds("driver", (MachineConfig,)),
    Kinds("kind", (WithinConfig, SampleConfig)),
    Kinds("kind", (FileConfig,)),
)

BASE = """\
gateway:
  id: gw1
  path: acme/denver/filling/line3/cell1
devices:
  reservoir:
    driver: machine
    url: tcp://127.0.0.1:1
    period: 250ms
    timeout: 500ms
    tags:
      temperature: {unit: Cel}
      name: {kind: text}
  filler:
    driver: machine
    url: tcp://127.0.0.1:2
    can_halt: true
    halt_budget: 500ms
    tags: {units: {unit: "{count}"}, forbidden: {unit: Cel}}
"""

RECIPE = """\
id: cart
version: "1"
name: A cartridge
sku: C-1
approved_by: QA
windows:
  oil_temperature: {unit: Cel, low: 58, high: 66}
plans:
  every_100:
    every_units: 100
    n: 1
    characteristics: [{name: weight, kind: variable, source: weighing, window: {unit: "1", low: 0.95, high: 1.05}}]
label: {warning_code: W1}
yields: {oil_per_unit: 1.00, min_percent: 95, max_percent: 101}
"""
