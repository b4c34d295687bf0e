"""How fast a model runs on this machine, comparably with llama-bench."""
