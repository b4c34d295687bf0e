"""Builds of llama.cpp side by side: what is installed, how more are got, and whether each computes what it should."""
