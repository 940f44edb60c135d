"""OPC UA devices: fillers, labellers, controllers; by subscription or by polling; PackML in both of its dialects.

    filler:
      driver: opcua
      url: "opc.tcp://10.0.3.11:4840"
      namespace: {f: "urn:maker:filler"}
      profile: packml-tags            # state, mode, speed, units, rejects
      prefix: "f:Filler"
      tags:
        dose_setpoint: {node: "f:Filler.Dose.Setpoint", unit: g}
      halt: {action: hold}
      heartbeat: {write: "f:Filler.Heartbeat.In"}
      security: {pki: /etc/linegate/pki}

How nodes are written: opcua_nodes.py; all keys: opcua_settings.py.  What is weaker than Basic256Sha256,
SignAndEncrypt and a checked server certificate is refused unless `security.waiver` gives the reason.  Nothing is ever
written but what `halt` and `heartbeat` name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from gateway.drivers.opcua.settings import OpcUaSettings
from gateway.errors import DeviceMisconfigured

if TYPE_CHECKING:
    from gateway.drivers.opcua.device import OpcUaDevice


class OpcUaConfig(OpcUaSettings):
    """The driver kind `opcua`: its settings, and the way in."""

    def preload(self) -> None:
        import gateway.drivers.opcua.device  # noqa: F401, PLC0415  # asyncua: 0.4 s and 40 MB, only if used
        from gateway.drivers.opcua.security import key_of  # noqa: PLC0415  # as above

        if self.security.mode != "None":
            with suppress(OSError, DeviceMisconfigured):  # connect makes it where it is missing, and says what is wrong
                key_of(self.security.own[1])

    def connect(self, name: str) -> AbstractAsyncContextManager[OpcUaDevice]:
        return self._connect(name)

    @asynccontextmanager
    async def _connect(self, name: str) -> AsyncIterator[OpcUaDevice]:
        from gateway.drivers.opcua.device import open_device  # noqa: PLC0415  # asyncua: 0.4 s and 40 MB, only if used

        async with open_device(self, name) as device:
            yield device
