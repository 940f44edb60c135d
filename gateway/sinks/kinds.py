"""The built-in sink kinds, in one plain tuple.  Third parties come by the entry point group `linegate.sinks`."""

from __future__ import annotations

from gateway.sinks.base import SinkConfig
from gateway.sinks.influx import InfluxConfig
from gateway.sinks.mqtt import MqttConfig

BUILT_IN: tuple[type[SinkConfig], ...] = (MqttConfig, InfluxConfig)
