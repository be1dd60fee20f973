"""Tabulates the trials of a study, and its networks."""
