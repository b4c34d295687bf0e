"""The `gpt-oss` command."""
