"""Backtest: recorded telemetry through a rule set, by the line's own engine and deriver, on the data's own time."""
