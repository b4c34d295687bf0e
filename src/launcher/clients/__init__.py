"""Programs that talk to the server: what each must be told, written into its own configuration or run with it."""
