"""Where trials are stored and who holds their leases."""
