"""Compares the Pareto fronts of several studies."""
