"""What a file on this disk is: by its header, its names and its state; kept until it changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.catalogue.local import FactsCache, LocalFacts, recognise
from launcher.catalogue.recipes import model_tensors
from launcher.store.apps import Place
from launcher.store.walk import walk
from tests.catalogue.builders import NATIVE, header_bytes, shipped, tiny_file, tiny_metadata, tiny_spec
from tests.store.layouts import ollamas_own, put

SHAPE = {"id": "gpt-oss-20b", "n_layer": 24, "n_expert": 32}
"""By which a release is known, whatever the width of its layers."""


def release(*, metadata: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """A file of the shape of the 20b, of a few kB."""
    model = tiny_spec(**{**SHAPE, "n_embd": 32, "n_ff_exp": 32, **changes})
    tensors = model_tensors(model, NATIVE)
    header: bytes = header_bytes({**tiny_metadata(model), **(metadata or {})}, tensors)
    return header + b"\1" * (tensors[-1].offset + tensors[-1].n_bytes)


RELEASE = release()


@pytest.fixture
def facts_of(tmp_path: Path) -> Callable[..., LocalFacts]:
    def facts_of(path: Path, n_parts: int = 1, *, cache: Path | None = None, **known: Any) -> LocalFacts:
        (seen,) = [s for s in walk([Place(app="your folder", root=path.parent, layout="flat")]).files if s.path == path]
        cache_dir = cache or tmp_path / "cache"
        facts = FactsCache(cache_dir)
        found = recognise([replace(seen, **known)], n_parts, cache_dir=cache_dir, shipped=shipped(), facts=facts)
        facts.save()
        return found

    return facts_of


def test_a_release_is_known_by_its_shape(tmp_path: Path, facts_of: Callable[..., LocalFacts]) -> None:
    found = facts_of(put(tmp_path / "model.gguf", RELEASE))
    assert (found.state, found.why, found.arch, found.model, found.release) == (
        "complete", None, "gpt-oss", "gpt-oss-20b", True,
    )  # fmt: skip
    assert found.quant == "Q8_0", "what its tensors are, where no name says it"
    assert found.recipe is None, "of other widths than the release"


NOT_THE_RELEASE = [
    ("gpt-oss-20b-MXFP4.gguf", {"general.name": "Gpt Oss 20b Abliterated"}, "Gpt Oss 20b Abliterated"),
    ("gpt-oss-20b-MXFP4.gguf", {"general.finetune": "coder"}, "gpt-oss-20b-MXFP4"),
    ("gpt-oss-20b-heretic-MXFP4.gguf", {"general.name": "Gpt Oss 20b"}, "gpt-oss-20b-heretic-MXFP4"),
    ("gpt-oss-safeguard-20b-MXFP4.gguf", {"general.name": "Gpt Oss 20b"}, "gpt-oss-safeguard-20b-MXFP4"),
    ("huihui-gpt-oss-20b/m.gguf", {"general.name": "gpt-oss-20b"}, "m"),
]


@pytest.mark.parametrize(("name", "metadata", "model"), NOT_THE_RELEASE)
def test_a_fine_tune_of_the_same_shape_is_another_model(
    tmp_path: Path, facts_of: Callable[..., LocalFacts], name: str, metadata: dict[str, Any], model: str
) -> None:
    found = facts_of(put(tmp_path / name, release(metadata=metadata)))
    assert (found.state, found.release, found.model) == ("complete", False, model)


@pytest.mark.parametrize(
    ("name", "general_name"),
    [
        ("gpt-oss-20b-MXFP4.gguf", "Gpt Oss 20b"),
        ("openai_gpt-oss-20b-Q4_K_M.gguf", "Openai_Gpt Oss 20b"),
        ("gpt-oss-20b-UD-Q4_K_XL.gguf", "Gpt-Oss-20B"),
        ("ggml-org_gpt-oss-20b-GGUF_gpt-oss-20b-mxfp4.gguf", "6cee5e81ee83917806bbde320786a8fb61efebee"),
        ("unsloth/gpt-oss-20b-GGUF/gpt-oss-20b-F16.gguf", "Gpt Oss 20b BF16"),
        ("whatever.gguf", "gpt-oss-20b"),
    ],
)
def test_names_that_releases_have(
    tmp_path: Path, facts_of: Callable[..., LocalFacts], name: str, general_name: str
) -> None:
    assert facts_of(put(tmp_path / name, release(metadata={"general.name": general_name}))).release


def test_other_models_and_other_files(tmp_path: Path, facts_of: Callable[..., LocalFacts]) -> None:
    other = facts_of(put(tmp_path / "llama.gguf", tiny_file(arch="llama")))
    assert (other.state, other.arch) == ("other", "llama")
    assert facts_of(put(tmp_path / "text.gguf", b"no model at all")).state == "other"


def test_ollamas_layout_is_told_and_not_usable(tmp_path: Path, facts_of: Callable[..., LocalFacts]) -> None:
    path = put(tmp_path / "blob.gguf", ollamas_own(RELEASE))
    found = facts_of(path, label="gpt-oss:120b")
    assert (found.state, found.model) == ("unusable", "gpt-oss-20b"), "a label that is no release leaves the size"
    assert "Ollama's own layout" in str(found.why)


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (RELEASE[:-1], "incomplete"),
        (RELEASE[:2000], "incomplete"),
        (bytes(len(RELEASE)), "damaged"),
        (b"Not found\n", "damaged"),
        (RELEASE.replace(b"gpt-oss.block_count", b"gpt-oss.block_cOunt"), "damaged"),
    ],
    ids=["cut at the end", "cut in the header", "zeros", "an error page", "a key that is gone"],
)
def test_what_cannot_be_loaded_says_why(
    tmp_path: Path, facts_of: Callable[..., LocalFacts], content: bytes, state: str
) -> None:
    found = facts_of(put(tmp_path / "gpt-oss-20b-MXFP4.gguf", content))
    assert (found.state, found.model, found.quant) == (state, "gpt-oss-20b", "MXFP4")
    assert found.why


def test_parts_that_are_missing(tmp_path: Path, facts_of: Callable[..., LocalFacts]) -> None:
    found = facts_of(put(tmp_path / "gpt-oss-120b-F16-00001-of-00003.gguf", RELEASE), 3)
    assert (found.state, found.why) == ("incomplete", "1 of 3 parts are here")


def test_a_file_that_grows_is_incomplete_and_not_remembered(
    tmp_path: Path, facts_of: Callable[..., LocalFacts]
) -> None:
    path = put(tmp_path / "gpt-oss-20b-MXFP4.gguf", RELEASE)
    assert facts_of(path, size_bytes=len(RELEASE) - 1).why == "it is being written"
    assert facts_of(path).state == "complete"


def test_what_a_download_manager_has_not_ended_is_incomplete(
    tmp_path: Path, facts_of: Callable[..., LocalFacts]
) -> None:
    path = put(tmp_path / "gpt-oss-20b-MXFP4.gguf", RELEASE)
    assert facts_of(path).state == "complete"
    control = put(tmp_path / "gpt-oss-20b-MXFP4.gguf.aria2", b"x")
    assert facts_of(path).state == "incomplete"
    control.unlink()
    assert facts_of(path).state == "complete"


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, facts_of: Callable[..., LocalFacts]) -> None:
    path = put(tmp_path / "gpt-oss-20b-MXFP4.gguf", RELEASE)
    before = path.stat()
    assert facts_of(path).state == "complete"
    path.write_bytes(bytes(len(RELEASE)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert facts_of(path).state == "complete", "the same size and time: not opened again"
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert facts_of(path).state == "damaged"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema": 1, "files": {"PATH": [[1, 2], {"state": 7}]}}', "[" * 99_999]
)
def test_a_damaged_cache_costs_a_look_and_no_more(
    tmp_path: Path, facts_of: Callable[..., LocalFacts], text: str
) -> None:
    path = put(tmp_path / "gpt-oss-20b-MXFP4.gguf", RELEASE)
    put(tmp_path / "cache" / "local-models.json", text.replace("PATH", str(path)).encode())
    assert facts_of(path).state == "complete"


def test_facts_of_files_that_are_gone_are_dropped(tmp_path: Path, facts_of: Callable[..., LocalFacts]) -> None:
    for name in ("a.gguf", "b.gguf"):
        facts_of(put(tmp_path / name / name, RELEASE))
    kept = FactsCache(tmp_path / "cache")
    seen = walk([Place(app="your folder", root=tmp_path / "b.gguf", layout="flat")]).files
    other = walk([Place(app="your folder", root=tmp_path / "a.gguf", layout="flat")]).files
    assert kept.get(seen) is not None
    assert kept.get(other) is None


def test_the_header_that_was_read_is_kept_under_the_file_alone(
    tmp_path: Path, facts_of: Callable[..., LocalFacts]
) -> None:
    facts_of(put(tmp_path / "m.gguf", RELEASE))
    assert len(list((tmp_path / "cache" / "headers").iterdir())) == 1
