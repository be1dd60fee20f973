"""Pauses trials at rungs, and continues or stops them later."""
