"""The report as an HTML page, and the study's HTML fragment for notebooks."""
