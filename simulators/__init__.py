"""The simulated line: one plant model, five devices that speak their real protocols.  Never imports `gateway`."""
