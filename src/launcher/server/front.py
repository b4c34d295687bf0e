"""What stands before llama-server, where something does."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from launcher.server.types import ServerRecord


def front_of(record: ServerRecord) -> AbstractContextManager[object]:  # noqa: ARG001
    """Nothing: clients talk to llama-server directly."""
    return nullcontext()
