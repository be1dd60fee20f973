"""Logs the trials of a study to experiment trackers, each an extra."""
