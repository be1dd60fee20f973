"""Commands about this machine: devices and caches."""
