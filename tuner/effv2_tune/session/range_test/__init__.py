"""The learning-rate range test of a study: its buckets, its proposal, and the edited study file."""
