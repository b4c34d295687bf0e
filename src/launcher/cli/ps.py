"""`gpt-oss ps`: the servers that run."""

from launcher.cli import options


def ps(
    *,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """List the servers that run.

    Examples:
      gpt-oss ps

      gpt-oss ps --json
    """
    from launcher.cli.output import print_json, say
    from launcher.paths import folders
    from launcher.records import to_jsonable
    from launcher.server.registry import running

    servers = running(folders().state)
    if json:
        print_json({"servers": [{**to_jsonable(record), "url": record.url} for record in servers]})
    elif servers:
        from launcher.cli.ps_view import print_servers

        print_servers(servers)
    else:
        say("no server runs; gpt-oss serve starts one")
