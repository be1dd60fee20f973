"""Commands about networks and their training."""
