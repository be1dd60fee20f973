"""Commands that prepare and run a study."""
