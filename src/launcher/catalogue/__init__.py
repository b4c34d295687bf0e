"""Which GPT OSS models and files exist, what is in them, and how they rank."""
