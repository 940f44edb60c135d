"""From one YAML file and its recipes to settings that can work."""
