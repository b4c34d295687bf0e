"""`gpt-oss models`: what is on this disk, wherever it lies."""

from typing import Annotated

import typer

from launcher.cli import options
from launcher.cli.models_transfer import export, import_

models_app = typer.Typer()

Name = Annotated[
    str, typer.Argument(metavar="MODEL", help="owner/name:QUANT, 20b, 120b, or the path of a file.", show_default=False)
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...", help="owner/name:QUANT, 20b, 120b, or paths; all of them.", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")]


@models_app.callback(invoke_without_command=True)
def list_(
    ctx: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Models of other kinds too.")] = False,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """List the GPT OSS models on this disk: in the hub's cache and in the folders of other applications.

    LM Studio, Jan, GPT4All, llama.cpp, Ollama and the folders of `model_dirs` are looked through. What they hold is
    used in place: nothing is moved or copied.

    Exit codes: 0 done, 2 usage, 5 damaged or not here.

    Examples:
      gpt-oss models

      gpt-oss models --all --json
    """
    if ctx.invoked_subcommand is None:
        from launcher.cli.models_session import list_models

        list_models(every=every, as_json=json)


@models_app.command()
def path(*, model: Name, json: options.Json = False, debug: options.Debug = False) -> None:  # noqa: ARG001
    """Print the path of a model that is here, for scripts.

    Exit codes: 0 done, 5 not here, or not complete.

    Examples:
      gpt-oss models path 20b

      llama-server --model "$(gpt-oss models path ggml-org/gpt-oss-20b-GGUF:MXFP4)"
    """
    from launcher.cli.models_session import print_path

    print_path(model, as_json=json)


@models_app.command()
def du(*, json: options.Json = False, debug: options.Debug = False) -> None:  # noqa: ARG001
    """Show how much of the disk the models take, by model and application; shared content counts once.

    Exit codes: 0 done.

    Examples:
      gpt-oss models du

      gpt-oss models du --json
    """
    from launcher.cli.models_session import show_usage

    show_usage(as_json=json)


@models_app.command()
def verify(*, model: Names = None, json: options.Json = False, debug: options.Debug = False) -> None:  # noqa: ARG001
    """Read models to their last byte and hold them against the hashes that the hub has of them.

    A damaged file of the hub's cache is set aside, so that `gpt-oss pull` fetches it anew. Ctrl-C ends it at any time:
    what was read to its end by then is noted.

    Exit codes: 0 all is well, 5 a file is damaged, or not here; 130 Ctrl-C.

    Examples:
      gpt-oss models verify

      gpt-oss models verify ggml-org/gpt-oss-20b-GGUF:MXFP4
    """
    from launcher.cli.models_verify import verify_models

    verify_models(tuple(model or ()), as_json=json)


@models_app.command()
def rm(
    *,
    model: Annotated[list[str], typer.Argument(metavar="MODEL...", help="owner/name:QUANT or the path of a file.")],
    outside_cache: Annotated[
        bool, typer.Option("--outside-cache", help="Remove a file of another application too, named by its path.")
    ] = False,
    yes: Yes = False,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Remove models from the hub's cache, unfinished parts too. Asks before; without a terminal it takes --yes.

    Content that another revision shows as well is kept. A model that a running server uses is not removed.

    Exit codes: 0 done, 2 declined, ambiguous, in use or another application's, 5 not here.

    Examples:
      gpt-oss models rm ggml-org/gpt-oss-20b-GGUF:MXFP4

      gpt-oss models rm --outside-cache ~/.lmstudio/models/ggml-org/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf --yes
    """
    from launcher.cli.models_remove import remove_models

    remove_models(tuple(model), outside_cache=outside_cache, yes=yes, as_json=json)


@models_app.command()
def prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")] = False,
    yes: Yes = False,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Remove what nobody needs: unfinished and damaged downloads, replaced revisions, headers of files that are gone.

    Shows what it would free, and asks. The only copy of a model is never removed.

    Exit codes: 0 done, 2 declined.

    Examples:
      gpt-oss models prune --dry-run

      gpt-oss models prune --yes --json
    """
    from launcher.cli.models_prune import prune as run_prune

    run_prune(dry_run=dry_run, yes=yes, as_json=json)


models_app.command()(export)
models_app.command(name="import")(import_)
