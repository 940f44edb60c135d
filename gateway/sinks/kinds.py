"""The built-in sink kinds: the word in the file -> where its configuration stands; imported when a file names it.

Third parties come by the entry point group `linegate.sinks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BUILT_IN: Final[Mapping[str, str]] = {
    "mqtt": "gateway.sinks.mqtt:MqttConfig",
    "influxdb": "gateway.sinks.influx:InfluxConfig",
}
