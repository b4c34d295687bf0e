"""The tiny GPT OSS that ships with the launcher: the real architecture at about a million parameters.

It is trained by scripts/train_tiny_gpt_oss.py; training-log.json beside the file says how and how well.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

DEMO_MODEL_FILE = "tiny-gpt-oss-MXFP4.gguf"


def demo_model_path() -> Path:
    """The demo model's GGUF, as an ordinary file.

    llama.cpp maps models from disk, so this relies on the package being installed as files, as pip and uv do.
    """
    return Path(str(importlib.resources.files(__name__).joinpath(DEMO_MODEL_FILE)))
