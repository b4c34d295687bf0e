"""Engines that run a plan: llama.cpp in this process, and the codec between messages and its tokens."""
