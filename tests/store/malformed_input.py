"""What a stranger may write anywhere: values, names and bytes by seed, and the launcher asked what a person would."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from launcher.catalogue.load import load_catalogue
from launcher.demo import demo_model_path
from launcher.planner.choose import plan
from launcher.planner.types import PlanRequest
from launcher.store.config import HubConfig
from launcher.store.download import fetch
from tests.builders import X86_ISA, gpu_machine
from tests.planner.builders import RATES

REPO = "ggml-org/gpt-oss-20b-GGUF"
FILE = "gpt-oss-20b-MXFP4.gguf"
COMMIT = "b97cbb20d1995efd41dce8c4dd1ddf86e8db375b"
EVIL = "evil-was-here"
"""In every name that leaves its folder: nothing so called may be found outside."""


@cache
def demo() -> bytes:
    """A whole GGUF of 1.2 MB, and its header alone of 0.2 MB."""
    return demo_model_path().read_bytes()


def absurd(rng: random.Random) -> Any:
    """A JSON value that nobody expects."""
    return rng.choice(
        [
            *(None, True, False, 0, -1, 1, 2**31, 2**32, 2**63, 2**64, 10**30, -(10**30), 0.5, 1e308, -0.0),
            *("", " ", "\0", "a\0b", "\x1b[31m", "\u202e", "\ud800", "x" * 100_000, "../../" + EVIL, "/" + EVIL),
            *([], {}, [[]], [None] * 1000, {"": ""}, {"a": {"b": {"c": []}}}, "null", "NaN", "1e999"),
        ]
    )


def bad_name(rng: random.Random) -> str:
    """A file name of a repository that leaves it, or that no file can have."""
    return rng.choice(
        [
            *(f"../{EVIL}.gguf", f"../../../{EVIL}.gguf", f"/tmp/{EVIL}.gguf", f"a/../../{EVIL}.gguf"),
            *(f"..\\{EVIL}.gguf", f"C:\\{EVIL}.gguf", f"a\0{EVIL}.gguf", f"\x1b]0;{EVIL}\x07.gguf", ".gguf", "..gguf"),
            *("/.gguf", "//.gguf", "...", f"{'d/' * 300}x.gguf", f"{'n' * 5000}.gguf", "gpt-oss-20b-\ud800.gguf"),
            *("gpt-oss-20b-MXFP4-00001-of-00000.gguf", "gpt-oss-20b-MXFP4-99999-of-00001.gguf"),
            *("gpt-oss-20b-MXFP4-00001-of-99999.gguf", "gpt-oss-20b-MXFP4\n.gguf", "gpt-oss-20b-MXFP4.gguf/"),
            *(f"gpt-oss-20b-{'I' * 40}Q4_K_M{'_X' * 2000}.gguf", "~/.bashrc.gguf", "$(touch x).gguf", "-rf.gguf"),
        ]
    )


def mutated(value: Any, rng: random.Random) -> Any:
    """The same JSON document with one thing in it replaced, removed, doubled or nested."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        found = dict(value)
        how = rng.random()
        if how < 0.1:
            del found[key]
        elif how < 0.2:
            found[f"{key} "] = found[key]
        else:
            found[key] = mutated(found[key], rng)
        return found
    if isinstance(value, list) and value and rng.random() < 0.9:
        index = rng.randrange(len(value))
        return [*value[:index], mutated(value[index], rng), *value[index + rng.choice([0, 1, 1]) :]]
    return absurd(rng)


def spoilt(data: bytes, rng: random.Random) -> bytes:
    """The same bytes with some of them changed, cut off, put in or swapped."""
    at = rng.randrange(max(1, len(data)))
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 20)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    inserted = data[:at] + rng.randbytes(rng.randrange(1, 200)) + data[at:]
    ways = [data[:at], inserted, b"", b"\0" * len(data), b"[" * 100_000, data.replace(b'"', b"'"), bytes(changed)]
    return rng.choice(ways)


def ask(root: Path, *, model: str = "auto", hub: str | None = None, **given: Any) -> None:
    """Plan, and have the chosen file fetched: as `gpt-oss chat` does before it loads anything."""
    env = {
        "HOME": str(root / "home"),
        "HF_HUB_CACHE": str(root / "hub"),
        "HF_ENDPOINT": hub or "https://hub.test",
    }
    list_repo = open_remote = None
    config = HubConfig(endpoint=env["HF_ENDPOINT"], cache_dir=root / "hub", offline=hub is None)
    if hub is not None:
        from launcher.store.listing import list_repo as list_on_hub
        from launcher.store.remote import open_remote as open_on_hub

        def list_repo(repo: str) -> Any:
            return list_on_hub(repo, config=config, timeout_s=3)

        def open_remote(repo: str, path: str, *, revision: str | None) -> Any:
            return open_on_hub(repo, path, revision=revision, config=config, sleep=lambda _: None)

    machine = gpu_machine()
    catalogue = load_catalogue(
        request_model=model,
        offline=hub is None,
        refresh=False,
        isa=X86_ISA,
        cache_dir=root / "cache",
        environ=env,
        list_repo=list_repo,
        open_remote=open_remote,
        **given,
    )
    json.dumps([str(note) for note in catalogue.notes])
    found = plan(machine, catalogue, PlanRequest(model=model), rates=RATES)
    fetch(found.file, cache_dir=root / "hub", config=config)
