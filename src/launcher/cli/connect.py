"""`gpt-oss connect`: what a client needs to use the server."""

from typing import Annotated

import typer

from launcher.cli import options

Name = Annotated[str | None, typer.Argument(help="A client; all are listed without one.", show_default=False)]
Write = Annotated[bool, typer.Option("--write", help="Merge it into the client's settings; a copy of them is kept.")]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Of several servers, the one at this port.")]
Url = Annotated[str | None, typer.Option("--url", help="A server elsewhere, such as http://192.168.1.5:8080.")]
ServedModel = Annotated[str | None, typer.Option("--model", "-m", help="Model to ask for, if not the server's own.")]


def connect(
    name: Name = None,
    *,
    write: Write = False,
    port: Port = None,
    url: Url = None,
    model: ServedModel = None,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """List clients, print what one must be told to use the server, or write it into its settings.

    Examples:
      gpt-oss connect codex

      gpt-oss connect opencode --write
    """
    from launcher.cli import connect_view
    from launcher.cli.endpoints import connect_target
    from launcher.clients.known import CLIENTS, find
    from launcher.errors import UsageError

    if name is None:
        if write:
            raise UsageError("say which client is meant", hint="gpt-oss connect")
        connect_view.show_clients(CLIENTS, as_json=json)
        return
    client = find(name)
    if write and not client.files:
        raise UsageError(f"{client.title} has no settings file to merge into", hint=f"gpt-oss connect {client.name}")
    target = connect_target(port=port, url=url, model=model, command=f"connect {client.name}")
    if write:
        connect_view.write_settings(client, target, as_json=json)
    else:
        connect_view.show_snippets(client, target, as_json=json)
