"""The command that `gpt-oss serve --dry-run` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.cli.serve_session import How, _dry_run
from launcher.settings import resolve
from tests.builders import cpu_machine
from tests.planner.builders import make_plan


def test_on_windows_it_is_powershells(capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(cpu_machine(ram_gib=64), model="20b", quant="MXFP4", n_parallel=4)
    program = Path("C:/Program Files/it's/llama-server.exe")
    _dry_run(plan, resolve(flags={}), How(), program, system="win32")
    told = capsys.readouterr().out
    assert told.startswith("& 'C:/Program Files/it''s/llama-server.exe' --model "), "a program in quotes must be called"
    _dry_run(plan, resolve(flags={}), How(), program, system="linux")
    assert capsys.readouterr().out.startswith("""'C:/Program Files/it'"'"'s/llama-server.exe' --model """)
