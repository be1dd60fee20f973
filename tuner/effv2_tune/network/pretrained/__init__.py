"""Pretrained weights: found or downloaded, checked, read and loaded into a network."""
