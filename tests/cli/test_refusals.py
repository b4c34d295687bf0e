"""Bad input gets one clear line, a hint that can be typed and a documented exit code, and loses nothing."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from launcher.catalogue.classify import classify
from launcher.catalogue.types import ModelFile
from launcher.cli import errors
from launcher.demo import demo_model_path
from launcher.hardware.saved import hardware_to_json
from launcher.store.config import HubConfig
from launcher.store.download import Outside, fetch
from launcher.store.listing import list_repo
from tests.builders import cpu_machine
from tests.cli.sandbox import Sandbox, assert_runnable
from tests.cli.test_road import FILE, REPO, loadable, unfinished
from tests.fakes.hub import Hub
from tests.systems import POSIX

Prepare = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """What is typed, what is there, and what must be said. Words that begin with `@` are files in the folder."""

    typed: str
    code: int
    says: tuple[str, ...]
    hint: str | None = None
    prepare: Prepare = lambda folder: None


def junk(folder: Path) -> None:
    (folder / "letter.gguf").write_text("Dear reader,\n" * 100)


def truncated(folder: Path) -> None:
    (folder / "cut.gguf").write_bytes(demo_model_path().read_bytes()[:-100_000])


def cut_header(folder: Path) -> None:
    (folder / "cut.gguf").write_bytes(demo_model_path().read_bytes()[:5_000])


def one_part_of_two(folder: Path) -> None:
    shutil.copy(demo_model_path(), folder / "tiny-00001-of-00002.gguf")


def small_machine(folder: Path) -> None:
    (folder / "small.json").write_text(json.dumps(hardware_to_json(cpu_machine(ram_gib=16))))


def settings(text: str) -> Prepare:
    return lambda folder: (folder / "config" / "settings.toml").write_text(text)


CASES = {
    "unknown model": Case(
        "plan --model 12b", 2, ("unknown model '12b'", "did you mean 120b?"), "gpt-oss plan --model 120b"
    ),
    "unknown model in chat": Case("chat --model lama hello", 2, ("unknown model 'lama'",)),
    "unknown quant": Case(
        "plan --model 20b --quant MXPF4",
        2,
        ("no quant 'MXPF4' of 20b", "did you mean MXFP4?"),
        "gpt-oss plan --model 20b --quant MXFP4",
    ),
    "unknown quant of a repository": Case(
        "pull unsloth/gpt-oss-20b-GGUF:Q4KM",
        2,
        ("did you mean Q4_K_M?",),
        "gpt-oss plan --model unsloth/gpt-oss-20b-GGUF:Q4_K_M",
    ),
    "no such file": Case("chat --model @nope.gguf hello", 5, ("nope.gguf is not in",)),
    "no GGUF": Case("chat --model @letter.gguf hello", 5, ("letter.gguf", "not a GGUF"), prepare=junk),
    "truncated": Case("chat --model @cut.gguf hello", 5, ("cut.gguf", "truncated"), prepare=truncated),
    "header cut": Case("plan --model @cut.gguf", 5, ("cut.gguf",), prepare=cut_header),
    "part missing": Case(
        "chat --model @tiny-00001-of-00002.gguf hello",
        5,
        ("tiny-00002-of-00002.gguf, one of the 2 parts",),
        prepare=one_part_of_two,
    ),
    "folder": Case("chat --model @config hello", 5, ("is a folder",)),
    "no network": Case("pull 20b", 4, ("no connection to 127.0.0.1",), "gpt-oss chat --demo"),
    "cannot fit": Case(
        "plan --model 120b --hardware @small.json",
        3,
        ("gpt-oss-120b", "does not fit", "needs", "GiB"),
        prepare=small_machine,
    ),
    "context too long": Case(
        "plan --model 20b --ctx-size 200000", 2, ("200000", "131072"), "gpt-oss plan --model 20b --ctx-size 131072"
    ),
    "context of the demo too long": Case("chat --demo --ctx-size 1000000 hello", 2, ("1000000", "beyond")),
    "unknown setting": Case(
        "plan",
        2,
        ("settings.toml, line 2", "did you mean 'ctx_size'?"),
        "gpt-oss config edit",
        prepare=settings("# mine\nctx_siez = 4096\n"),
    ),
    "settings that are no TOML": Case(
        "plan", 2, ("settings.toml",), "gpt-oss config edit", prepare=settings("ctx = = 1")
    ),
    "setting of another type": Case(
        "chat --demo hello",
        2,
        ("settings.toml", "ctx_size"),
        "gpt-oss config edit",
        prepare=settings('ctx_size = "big"\n'),
    ),
    "wrong word": Case(
        "chat --demo --effort hard hello", 2, ("--reasoning-effort", "low, medium"), "gpt-oss chat --help"
    ),
    "demo with a model": Case(
        "chat --demo --model 20b hello", 2, ("--demo is a model of its own",), "gpt-oss chat --demo"
    ),
    "empty question": Case("chat --demo", 2, ("the question is empty",)),
    "question of blanks": Case("chat --demo '  '", 2, ("the question is empty",)),
    "prompt too long": Case(f"chat --demo --ctx-size 64 {'word ' * 200}", 2, ("the context holds",)),
    "no hardware file": Case("plan --hardware @nope.json", 5, ("nope.json cannot be read",)),
    "save where nothing can be": Case("hardware --save @config", 1, ("cannot write",)),
    "no editor": Case("config edit", 1, ("cannot run the editor",), "gpt-oss config path"),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_one_line_one_hint_and_a_documented_code(sandbox: Sandbox, case: Case) -> None:
    case.prepare(sandbox.root)
    before = contents(sandbox.root)
    words = [str(sandbox.root / word[1:]) if word.startswith("@") else word for word in shlex.split(case.typed)]
    done = sandbox.refused(*words, env={"EDITOR": "/no/such/editor"})
    assert done.code == case.code, done
    for text in case.says:
        assert text in done.error, done
    if case.hint is not None:
        assert done.hint == case.hint
    assert before.items() <= contents(sandbox.root).items(), "something was lost"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "typed",
    ["bogus", "chat --nope", "plan --ctx-size many", "chat --max-tokens 0 hi", "config", "plan --load-mode"],
)
def test_what_the_command_line_itself_refuses_is_usage(sandbox: Sandbox, typed: str) -> None:
    done = sandbox.run(*typed.split())
    assert done.code == 2, done
    assert done.out + done.err


def test_what_does_not_fit_is_told_with_what_would(sandbox: Sandbox) -> None:
    small_machine(sandbox.root)
    machine = sandbox.root / "small.json"
    done = sandbox.refused("plan", "--model", "120b", "--hardware", machine)
    assert any(line.startswith("  CPU: needs ") and "available" in line for line in done.err.splitlines())
    assert done.hint.startswith("gpt-oss plan --model ")
    fitting = sandbox.run(*done.hint.split()[1:], "--hardware", machine)
    assert fitting.code == 0, "the hint leads to what fits"


def test_without_a_network_a_plan_rests_on_what_shipped_and_says_so(sandbox: Sandbox) -> None:
    done = sandbox.run("plan")
    if done.code == 3:
        pytest.skip("no GPT OSS fits this machine")
    assert done.code == 0
    assert "no connection to 127.0.0.1" in done.out
    assert "shipped with the launcher" in done.out


def test_a_cache_that_may_not_be_written(online: Sandbox) -> None:
    if sys.platform == "win32":
        pytest.skip("root is of POSIX")
    if os.geteuid() == 0:
        pytest.skip("file permissions do not hold root back")
    folder = online.root / "locked"
    folder.mkdir(mode=0o500)
    done = online.refused("pull", REPO, env={"HF_HOME": str(folder)})
    assert done.code == 1
    assert f"no permission to write {folder}" in done.error
    assert done.hint == f"HF_HOME=/another/folder gpt-oss pull {REPO}:MXFP4"


def test_a_launcher_cache_that_cannot_be_written_is_done_without(online: Sandbox) -> None:
    (online.root / "file").touch()
    done = online.run("plan", "--json", env={"GPT_OSS_CACHE_DIR": str(online.root / "file" / "cache")})
    assert done.code == 0, done
    assert json.loads(done.out)["weights_basis"] == "header"


def test_a_disk_that_refuses_the_file(online: Sandbox, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """As the test above, in process, since root may write everywhere: the real transfer inside the real boundary."""

    def refuse(path: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    code, err = pulled(online, hub, Outside(open_part=refuse), capsys)
    assert code == 1
    assert err[0].startswith(f"error: no permission to write {online.hub_cache}")
    assert err[-1] == f"hint:  HF_HOME=/another/folder gpt-oss pull {REPO}:MXFP4"


def test_a_full_disk(online: Sandbox, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    code, err = pulled(online, hub, Outside(free_bytes=lambda _: 1000), capsys)
    assert code == 3
    assert err[0].startswith(f"error: {REPO}:MXFP4 needs 1.2 MiB more on disk")
    assert err[-1] == f"hint:  HF_HOME=/folder/on/a/larger/disk gpt-oss pull {REPO}:MXFP4"
    assert loadable(online) == unfinished(online) == []


def pulled(online: Sandbox, hub: Hub, outside: Outside, capsys: pytest.CaptureFixture[str]) -> tuple[object, list[str]]:
    """Exit code and lines on stderr of a transfer with a disk of the test's own."""
    config = HubConfig(endpoint=hub.url, cache_dir=online.hub_cache)
    file = model_file(hub)
    with pytest.raises(SystemExit) as ended:
        errors.run(lambda: fetch(file, config=config, outside=outside))
    lines = capsys.readouterr().err.splitlines()
    assert_runnable(lines[-1].removeprefix("hint:").strip())
    return ended.value.code, lines


def model_file(hub: Hub) -> ModelFile:
    listing = list_repo(REPO, config=HubConfig(endpoint=hub.url, cache_dir=Path("unused")))
    (file,) = classify(listing.files, repo=REPO, revision=listing.commit).files
    assert file.parts[0].path == FILE
    return file


@POSIX
def test_output_on_a_full_disk(sandbox: Sandbox) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("wb") as full:
        done = sandbox.run("plan", "--model", demo_model_path(), "--json", stdout=full)
    assert done.code == 1
    assert done.error == "the output cannot be written: No space left on device"
    assert_runnable(done.hint)


def test_debug_shows_the_traceback_and_keeps_the_code(sandbox: Sandbox) -> None:
    done = sandbox.run("plan", "--model", "12b", "--debug")
    assert done.code == 2
    assert "Traceback (most recent call last)" in done.err
    assert done.error.startswith("unknown model '12b'")
