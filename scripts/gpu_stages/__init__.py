"""The stages of scripts/gpu_check.py: what a machine with a GPU is asked, kept as it comes, and made a record of."""
