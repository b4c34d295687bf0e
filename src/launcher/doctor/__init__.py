"""What keeps a machine from running models well, and the command that mends it."""
