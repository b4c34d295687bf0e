"""What stands before llama-server, where something does."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from launcher.server.types import ServerRecord


def front_of(record: ServerRecord) -> AbstractContextManager[object]:
    """A shield on the record's host and port; nothing where clients talk to llama-server directly."""
    if record.server_port is None:
        return nullcontext()
    from launcher.server.shield.run import start_shield
    from launcher.server.shield.types import ShieldConfig

    upstream_url = f"http://127.0.0.1:{record.server_port}"
    return start_shield(
        ShieldConfig(
            host=record.host,
            port=record.port,
            upstream_url=upstream_url,
            cors_origins=record.cors_origins,
            page_dir=record.ui_path,
        )
    )
