"""`gpt-oss config`: which settings are in force, and where each came from."""

import typer

from launcher.cli import options

config_app = typer.Typer(help="Show or edit the settings.", no_args_is_help=True)


@config_app.command()
def show(json: options.Json = False, debug: options.Debug = False) -> None:  # noqa: ARG001
    """Show every setting, its value and the layer that decided it.

    Examples:
      gpt-oss config show

      GPT_OSS_CTX_SIZE=8192 gpt-oss config show --json
    """
    from launcher.cli.context import load_settings
    from launcher.cli.output import print_json, report_console
    from launcher.settings import explain

    rows = explain(load_settings({}))
    if json:
        print_json({"settings": rows})
        return
    from rich.table import Table

    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, "" if row.value is None else str(row.value), row.layer)
    report_console().print(table)


@config_app.command()
def path(debug: options.Debug = False) -> None:  # noqa: ARG001
    """Print the path of the settings file.

    Examples:
      gpt-oss config path

      cat "$(gpt-oss config path)"
    """
    from launcher.paths import folders

    typer.echo(folders().config_file)


@config_app.command()
def edit(debug: options.Debug = False) -> None:  # noqa: ARG001
    """Open the settings file in your editor; a new one begins as the commented example.

    Examples:
      gpt-oss config edit

      EDITOR=nano gpt-oss config edit
    """
    from launcher.cli.context import load_settings
    from launcher.cli.editor import open_in_editor
    from launcher.cli.output import save_text
    from launcher.configs import configs_dir
    from launcher.paths import folders

    file = folders().config_file
    if not file.exists():
        save_text(file, (configs_dir() / "settings.example.toml").read_text(encoding="utf-8"))
    open_in_editor(file)
    load_settings({})  # a slip is told now rather than by the next command
