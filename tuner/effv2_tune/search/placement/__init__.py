"""Alternates between the workers' own devices and the target that training time is meant for."""
