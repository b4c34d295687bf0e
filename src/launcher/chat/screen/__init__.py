"""A turn on a terminal: Markdown that is rendered while it streams, and a painter that never prints a line twice."""
