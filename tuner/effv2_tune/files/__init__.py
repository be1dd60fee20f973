"""Files that survive: atomic writes, locks, checkpoints, downloads and the cache folder."""
