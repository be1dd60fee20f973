"""What a study will take: FLOPs, memory, disk, seconds and hours, before anything is trained.

Pure arithmetic on the plan, the catalog and a table of devices; nothing here looks at a machine.
From the ground up:

* `accelerators`: peak speed, bandwidth and memory of devices, with their sources.
* `target`: the device that is forecast for.
* `buckets`: the buckets that a study may train, and how often each, by drawing from its space.
* `work`: what one step of a bucket computes, moves and keeps.
* `memory`: what a bucket needs, against what the device has; where the images lie.
* `roofline`: the time of a step from the device's peak speed and bandwidth.
* `times`: the time of every bucket's step, each from the best source there is.
* `disk`: what lies on disk at the worst moment.
* `cost`: hours of the whole study, and in how many sessions.
* `study`: all of it together.
"""
