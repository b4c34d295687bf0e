"""`gpt-oss history`: the conversations that were kept."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import options

history_app = typer.Typer(help="List, search, resume, export and delete conversations.", no_args_is_help=True)

_WHICH = "An id, `last`, or the beginning of a title."
Which = Annotated[str, typer.Argument(metavar="ID", help=_WHICH, show_default=False)]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="So many at most.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]


@history_app.command(name="list")
def list_(*, limit: Limit = 20, json: options.Json = False, debug: options.Debug = False) -> None:  # noqa: ARG001
    """List the conversations, the one that changed last first.

    Examples:
      gpt-oss history list

      gpt-oss history list --limit 100 --json
    """
    from launcher.cli.history_session import list_conversations

    list_conversations(limit, as_json=json)


@history_app.command()
def show(
    *,
    which: Which,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="Show what the model thought, too.")] = False,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Print a conversation.

    Examples:
      gpt-oss history show last

      gpt-oss history show 12 --reasoning
    """
    from launcher.cli.history_session import show_conversation

    show_conversation(which, reasoning=reasoning, as_json=json)


@history_app.command()
def search(
    *,
    words: Annotated[list[str], typer.Argument(help="All of them occur; each may be the beginning of a word.")],
    limit: Limit = 20,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Find conversations by words of their titles and messages, whatever their case and accents.

    Examples:
      gpt-oss history search sourdough bread

      gpt-oss history search C++ --json
    """
    from launcher.cli.history_session import search_conversations

    search_conversations(" ".join(words), limit, as_json=json)


@history_app.command()
def resume(ctx: typer.Context, *, which: Which, debug: options.Debug = False) -> None:  # noqa: ARG001
    """Go on with a conversation, as `gpt-oss chat --resume` does.

    Examples:
      gpt-oss history resume last

      gpt-oss history resume 12
    """
    from launcher.cli.chat_session import resume_chat
    from launcher.cli.history_session import opened

    with opened() as history:
        found = history.resolve(which)
    raise typer.Exit(resume_chat(ctx.params, found))


@history_app.command()
def delete(
    *,
    which: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help=_WHICH, show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Unchanged for longer: 12h, 30d, 8w or 1y.")
    ] = None,
    yes: Yes = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Delete conversations for good. Asks before; without a terminal it takes --yes.

    Examples:
      gpt-oss history delete 12 14

      gpt-oss history delete --older-than 30d --yes
    """
    from launcher.cli.history_session import delete_conversations

    delete_conversations(tuple(which or ()), every=every, older_than=older_than, yes=yes)


@history_app.command()
def export(
    *,
    what: Annotated[
        list[str], typer.Argument(metavar="[ID] [md|json|html]", help=f"{_WHICH} Then the format.", show_default=False)
    ],
    every: Annotated[bool, typer.Option("--all", help="All conversations, one file each.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file or a folder; otherwise it is printed.")
    ] = None,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Write a conversation as Markdown, as JSON (for `import` and /load) or as one web page.

    Examples:
      gpt-oss history export last md

      gpt-oss history export --all html --output conversations/
    """
    from launcher.cli.history_session import export_conversations

    export_conversations(what, every=every, output=output)


@history_app.command(name="import")
def import_(
    *,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSON of `export` or of `show --json`.")],
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Keep conversations that were written as JSON, under new ids.

    Examples:
      gpt-oss history import conversation.json

      gpt-oss history import conversations/*.json
    """
    from launcher.cli.history_session import import_conversations

    import_conversations(files)


@history_app.command()
def path(debug: options.Debug = False) -> None:  # noqa: ARG001
    """Print the path of the file that holds all conversations.

    Examples:
      gpt-oss history path

      sqlite3 "$(gpt-oss history path)" .schema
    """
    from launcher.history.opening import history_path

    typer.echo(history_path())
