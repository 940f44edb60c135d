"""A recording that becomes a device."""
