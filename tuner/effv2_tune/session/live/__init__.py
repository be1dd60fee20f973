"""Follows a study while it is running, from its events."""
