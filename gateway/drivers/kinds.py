"""The built-in driver kinds: the word in the file -> where its configuration stands.

Only those that a file names are imported; a kind's heavy library is imported inside its `connect()`.  Third parties
come by the entry point group `linegate.drivers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BUILT_IN: Final[Mapping[str, str]] = {
    "balance": "gateway.drivers.balance.kind:BalanceConfig",
    "lights": "gateway.drivers.lights.kind:LightsConfig",
    "modbus": "gateway.drivers.modbus.kind:ModbusConfig",
    "opcua": "gateway.drivers.opcua.kind:OpcUaConfig",
    "pump": "gateway.drivers.pump.kind:PumpConfig",
    "reader": "gateway.drivers.reader.kind:ReaderConfig",
    "replay": "gateway.drivers.replay.kind:ReplayConfig",
    "zebra": "gateway.drivers.zebra.kind:ZebraConfig",
}
