"""Predicts FLOPs, memory, disk space and time of a study before anything is trained.

Pure arithmetic on the plan, the catalog and a table of devices; nothing here probes a machine.
Bottom-up:

* `accelerators`: peak speed, bandwidth and memory of devices, with their sources.
* `target`: the device of the forecast.
* `buckets`: the buckets of a study and their frequencies, by sampling its search space.
* `work`: FLOPs, activations and parameters of one step of a bucket.
* `memory_estimate`: memory of a bucket, compared with the device's; where images are stored.
* `roofline`: the time of a step from the device's peak speed and bandwidth.
* `times`: the step time of every bucket, each from the best source available.
* `disk`: peak disk usage.
* `cost`: hours of the whole study, and the number of sessions.
* `study`: the whole forecast.
"""
