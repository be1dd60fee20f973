"""Worker processes and the messages exchanged with them; loads no framework."""
