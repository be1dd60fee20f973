"""Proposes the configs of new trials with samplers and oracles."""
