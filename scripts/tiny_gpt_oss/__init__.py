"""The parts of scripts/train_tiny_gpt_oss.py: a GPT OSS of a megabyte, made from nothing but this folder."""
