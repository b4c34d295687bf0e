"""`gpt-oss models export` and `import`: carry a model to a machine without a network."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import options


def export(
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder, such as that of a USB stick.")],
    model: options.Model = None,
    quant: options.Quant = None,
    piece_size: Annotated[
        str | None,
        typer.Option(
            "--piece-size",
            metavar="SIZE",
            help="Cut files into pieces, such as 2GB. On FAT, whose files end at 4 GiB, that is done anyway.",
        ),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="On the same file system: share the file instead of copying it.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Write a model that is on this disk into DIR, with its catalogue entry, its hashes and its licence.

    All that is written is read back and verified. An export that was interrupted goes on where it stopped.

    Exit codes: 0 done, 2 usage, 3 no room, 5 the model is damaged or not here.

    Examples:
      gpt-oss models export /media/stick

      gpt-oss models export /media/stick --model ggml-org/gpt-oss-20b-GGUF:MXFP4 --piece-size 2GB
    """
    from launcher.cli.models_transfer_session import run_export

    run_export(folder, model=model, quant=quant, piece_size=piece_size, link=link, as_json=json)


def import_(
    *,
    path: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="What `export` wrote, or a GGUF that the catalogue knows.")
    ],
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Bring a model that was carried here into the hub's cache, where plan, chat and serve find it without a network.

    Every hash is verified while copying. An import that was interrupted goes on where it stopped.

    Exit codes: 0 done, 3 no room, 5 a file is damaged, missing or not what the catalogue knows.

    Examples:
      gpt-oss models import /media/stick

      gpt-oss models import /media/stick/ggml-org--gpt-oss-20b-GGUF--MXFP4
    """
    from launcher.cli.models_transfer_session import run_import

    run_import(path, as_json=json)
