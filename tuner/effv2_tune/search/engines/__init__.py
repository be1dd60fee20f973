"""Engines and samplers: where the next config comes from."""
