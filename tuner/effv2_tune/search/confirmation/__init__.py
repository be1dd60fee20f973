"""Confirms the picks of a study: trains configs again with other seeds, until they are clear."""
