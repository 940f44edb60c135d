"""The simulated line: one plant model, real protocols.  Never imports gateway."""
