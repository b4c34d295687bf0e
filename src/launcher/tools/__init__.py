"""Tools that a model may call while it answers: Python in a sandbox, and what MCP servers offer."""
