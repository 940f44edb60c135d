"""The life of one device: who connects, obeys, beats, shows, polls and stamps."""
