"""Starts worker processes, exchanges messages with them and replaces them; loads no framework."""

#: The share of the usable memory up to which all workers together keep compiled buckets.
MEMORY_SHARE = 0.5
