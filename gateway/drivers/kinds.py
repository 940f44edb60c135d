"""The built-in driver kinds, in one plain tuple.  Third parties come by the entry point group `linegate.drivers`.

Only configurations are imported here: a kind's heavy library is imported inside its `connect()`.
"""

from __future__ import annotations

from gateway.drivers.balance.kind import BalanceConfig
from gateway.drivers.base import DriverConfig
from gateway.drivers.lights.kind import LightsConfig
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.drivers.pump.kind import PumpConfig
from gateway.drivers.reader.kind import ReaderConfig
from gateway.drivers.replay.kind import ReplayConfig
from gateway.drivers.zebra.kind import ZebraConfig

BUILT_IN: tuple[type[DriverConfig], ...] = (
    BalanceConfig,
    LightsConfig,
    ModbusConfig,
    OpcUaConfig,
    PumpConfig,
    ReaderConfig,
    ReplayConfig,
    ZebraConfig,
)
