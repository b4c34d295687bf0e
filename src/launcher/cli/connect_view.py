"""Show the clients, what one of them must be told, and what became of its settings files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.cli.output import print_json, report_console, say
from launcher.clients.configs import patches
from launcher.clients.snippets import notes, snippets
from launcher.clients.types import Client, ConfigFile, Target
from launcher.clients.write import locate, write_patches
from launcher.errors import UsageError


def where(file: ConfigFile) -> Path:
    """A settings file of the person who runs this."""
    return locate(file, home=Path.home(), environ=os.environ, system=sys.platform)


def show_clients(clients: Sequence[Client], *, as_json: bool) -> None:
    """The list of clients."""
    if as_json:
        rows = [
            {
                "name": client.name,
                "title": client.title,
                "prints": client.prints,
                "files": [where(file) for file in client.files],
                "launch": client.launchable,
            }
            for client in clients
        ]
        print_json({"clients": rows})
        return
    from rich.table import Table

    table = Table("name", "client", "what is printed", "--write", "launch", box=None, pad_edge=False)
    for client in clients:
        files = "\n".join(_short(where(file)) for file in client.files)
        table.add_row(client.name, client.title, client.prints, files, "yes" if client.launchable else "")
    report_console().print(table)


def show_snippets(client: Client, target: Target, *, as_json: bool) -> None:
    """What a client must be told: the text itself on stdout, what to do with it on stderr."""
    texts, talk = snippets(client, target), notes(client, target)
    if as_json:
        rows = [
            {"path": where(item.file) if item.file else None, "language": item.language, "text": item.text}
            for item in texts
        ]
        print_json({"client": client.name, "endpoint": target.endpoint, "snippets": rows, "notes": talk})
        return
    for item in texts:
        if item.file and len(texts) > 1:
            # As head and tail part files: what is piped must not run into one.
            sys.stdout.write(f"==> {_short(where(item.file))} <==\n")
        elif item.file:
            say(f"for {_short(where(item.file))}:")
        sys.stdout.write(item.text)
        sys.stdout.flush()
    for line in talk:
        say(line)
    if client.files:
        say(f"to merge this into the file: gpt-oss connect {client.name} --write")


def write_settings(client: Client, target: Target, *, as_json: bool) -> None:
    """Merge into the client's settings: the paths on stdout, what was done on stderr."""
    wanted = [(where(patch.file), patch) for patch in patches(client.name, target)]
    try:
        done = write_patches(wanted, name=client.name)
    except UsageError:
        # What cannot be merged without loss can be by hand.
        show_snippets(client, target, as_json=as_json)
        raise
    if as_json:
        print_json({"client": client.name, "endpoint": target.endpoint, "files": done, "notes": notes(client, target)})
        return
    for file in done:
        kept = f"; what it said is in {file.backup.name}" if file.backup else ""
        say(f"{_short(file.path)} {f'is written{kept}' if file.changed else 'says so already'}")
        sys.stdout.write(f"{file.path}\n")
    for line in notes(client, target):
        say(line)


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
