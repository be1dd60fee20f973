"""Renders the HTML page of a report, and the fragment for notebooks."""
