"""Commands that read what a study has found."""
