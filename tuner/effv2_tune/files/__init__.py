"""Reads and writes files safely: atomic writes, locks, checkpoints, block stores, downloads."""
