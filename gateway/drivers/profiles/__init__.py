"""Known devices as YAML, how they are read, and how a site's own map becomes one."""
