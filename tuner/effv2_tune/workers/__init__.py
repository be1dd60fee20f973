"""Starts worker processes, exchanges messages with them and replaces them; loads no framework."""

#: Workers that exit in a row during a trial, without a new checkpoint, before it is infeasible.
MAX_WORKER_DEATHS = 3
#: The share of the usable memory up to which all workers together keep compiled buckets.
MEMORY_SHARE = 0.5
