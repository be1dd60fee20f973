"""Reports a study: its Pareto front as a page, figures and tables."""
