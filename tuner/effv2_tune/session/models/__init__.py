"""Uses trained models: predictions, exports to other formats, model cards."""
