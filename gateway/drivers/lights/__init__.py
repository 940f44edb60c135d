"""Stack lights and horns on remote I/O."""
