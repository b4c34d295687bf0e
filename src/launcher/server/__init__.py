"""llama-server as a child of the launcher: its command, its life, its record on disk."""
