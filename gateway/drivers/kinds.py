"""The built-in driver kinds, in one plain tuple.  Third parties come by the entry point group `linegate.drivers`.

Only configurations are imported here: a kind's heavy library is imported inside its `connect()`.
"""

from __future__ import annotations

from gateway.drivers.balance import BalanceConfig
from gateway.drivers.base import DriverConfig
from gateway.drivers.lights import LightsConfig
from gateway.drivers.modbus import ModbusConfig
from gateway.drivers.opcua import OpcUaConfig
from gateway.drivers.pump import PumpConfig
from gateway.drivers.reader import ReaderConfig
from gateway.drivers.replay import ReplayConfig
from gateway.drivers.zebra import ZebraConfig

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
