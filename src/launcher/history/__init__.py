"""Conversations on disk: one SQLite file, searched by words, written out as Markdown, HTML or JSON."""
