"""Stores studies: trials, their leases, and facts of the study."""
