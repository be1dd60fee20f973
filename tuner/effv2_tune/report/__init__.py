"""The front, as a page, figures and a table."""
