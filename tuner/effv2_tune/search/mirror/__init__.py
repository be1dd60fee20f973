"""Copies a running study to a mirror, and restores it from there."""
