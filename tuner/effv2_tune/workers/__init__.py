"""Worker processes and the messages exchanged with them; loads no framework."""

#: Deaths of a trial's worker in a row, without a new checkpoint, after which it does not fit.
MAX_WORKER_DEATHS = 3
#: The share of the usable memory up to which all workers together keep compiled buckets.
MEMORY_SHARE = 0.5
