"""gpt-oss-launcher: run OpenAI's open-weight GPT OSS models on the machine you have."""

__version__ = "0.1.0"
