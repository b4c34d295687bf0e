"""The list of commands, and the way in. Each command is one file; nothing heavy is imported before one runs."""

from typing import Annotated

import typer

from launcher.cli.bench import bench_app
from launcher.cli.chat import chat
from launcher.cli.config import config_app
from launcher.cli.connect import connect
from launcher.cli.doctor import doctor
from launcher.cli.engine import engine_app
from launcher.cli.hardware import hardware
from launcher.cli.history import history_app
from launcher.cli.launch import launch
from launcher.cli.logs import logs
from launcher.cli.models import models_app
from launcher.cli.plan import plan
from launcher.cli.ps import ps
from launcher.cli.pull import pull
from launcher.cli.serve import serve
from launcher.cli.service import service_app
from launcher.cli.stop import stop
from launcher.cli.top import top
from launcher.cli.tune import tune
from launcher.cli.version import print_version

app = typer.Typer(
    name="gpt-oss",
    help="Run OpenAI's open-weight GPT OSS models on the machine you have.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 fault, 2 usage, 3 does not fit, 4 network or hub, 5 damaged or missing file, "
    "6 engine, 130 Ctrl-C.",
)


@app.callback()
def _main(
    *,
    version: Annotated[  # the callback prints and exits
        bool,
        typer.Option(
            "--version", help="Show the versions of launcher and engine.", callback=print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


app.command()(chat)
app.command()(plan)
app.command()(pull)
app.command()(hardware)
app.command()(doctor)
app.command()(serve)
app.command()(ps)
app.command()(logs)
app.command()(stop)
app.command()(top)
app.command()(connect)
app.command()(launch)
app.add_typer(bench_app, name="bench")
app.command()(tune)
app.add_typer(models_app, name="models")
app.add_typer(engine_app, name="engine")
app.add_typer(history_app, name="history")
app.add_typer(config_app, name="config")
app.add_typer(service_app, name="service")


def main() -> None:
    """Entry point of `gpt-oss`: the app inside the one error boundary."""
    from launcher.cli.errors import run

    run(app)
