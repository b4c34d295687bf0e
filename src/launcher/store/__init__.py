"""Where model files come from: the hub, and what is already on this disk."""
