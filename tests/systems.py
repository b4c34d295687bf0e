"""Which tests are of which system: what they look at, or the way in which they look, is not there elsewhere."""

from __future__ import annotations

import signal
import sys

import pytest

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals, permissions, pipes or #! as Windows has none")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own files, or libraries as Linux has them")

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Ends a process without asking; on Windows every signal but two does."""
