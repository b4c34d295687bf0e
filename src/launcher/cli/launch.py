"""`gpt-oss launch`: a client on the running server, for this once."""

from typing import Annotated

import typer

from launcher.cli import options

Name = Annotated[str, typer.Argument(help="codex, claude, opencode, aider or llm.")]
Args = Annotated[list[str] | None, typer.Argument(help="Arguments of the client, after --.", show_default=False)]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Of several servers, the one at this port.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the command, with the key masked, and run nothing.")]


def launch(
    name: Name,
    args: Args = None,
    *,
    port: Port = None,
    dry_run: DryRun = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Start a client on the running server. Its settings files are left alone: this is for one run.

    Examples:
      gpt-oss launch codex

      gpt-oss launch claude -- --print "What does this folder hold?"
    """
    import os

    from launcher.cli.endpoints import running_target
    from launcher.clients.known import find
    from launcher.clients.launches import launch as build
    from launcher.clients.start import command_line, start

    client = find(name)
    target = running_target(port, f"launch {client.name}")
    built = build(client, target, args or [])
    if dry_run:
        typer.echo(command_line(built, keyed=target.keyed))
        return
    key = None
    if target.endpoint.key_file is not None:
        from launcher.server.keys import read_key

        key = read_key(target.endpoint.key_file)
    start(client, built, key=key, environ=os.environ)
