from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.catalogue.classify import UNIFORM_BPW, classify, quant_label, release_of
from tests.catalogue.builders import shipped


@dataclass(frozen=True)
class Listed:
    path: str
    size_bytes: int | None = 1000
    sha256: str | None = None


def names(
    *paths: str, repo: str = "someone/gpt-oss-GGUF", releases_only: bool = True
) -> tuple[list[tuple[str, str, int]], tuple[str, ...]]:
    found = classify([Listed(path) for path in paths], repo=repo, revision="c0", releases_only=releases_only)
    return [(file.model, file.quant, len(file.parts)) for file in found.files], found.notes


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("gpt-oss-20b-mxfp4.gguf", "mxfp4"),
        ("openai_gpt-oss-120b-MXFP4_MOE/openai_gpt-oss-120b-MXFP4_MOE-00001-of-00002.gguf", "MXFP4_MOE"),
        ("UD-Q4_K_XL/gpt-oss-120b-UD-Q4_K_XL-00001-of-00002.gguf", "UD-Q4_K_XL"),
        ("gpt-oss-20b-Q2_K_L.gguf", "Q2_K_L"),
        ("openai_gpt-oss-20b-IQ3_XXS.gguf", "IQ3_XXS"),
        ("openai_gpt-oss-20b-bf16.gguf", "bf16"),
        ("gpt-oss-20b.Q4_0.gguf", "Q4_0"),
        ("Q8_0.GGUF", "Q8_0"),
        ("gpt-oss-20b.gguf", None),
        ("Q8_0/model.gguf", None),
    ],
)
def test_the_label_is_what_the_file_name_spells(path: str, label: str | None) -> None:
    assert quant_label(path) == label


@pytest.mark.parametrize(
    ("path", "repo", "model"),
    [
        ("gpt-oss-20b-MXFP4.gguf", "", "gpt-oss-20b"),
        ("GPT_OSS-120B-F16.gguf", "", "gpt-oss-120b"),
        ("mxfp4.gguf", "someone/gpt-oss-20b-GGUF", "gpt-oss-20b"),
        ("gpt-oss-120b-x.gguf", "someone/gpt-oss-20b-GGUF", "gpt-oss-120b"),
        ("gpt-oss-safeguard-20b-Q4_K_M.gguf", "unsloth/gpt-oss-safeguard-20b-GGUF", None),
        ("Q8_0.gguf", "unsloth/gpt-oss-safeguard-20b-GGUF", None),
        ("gpt-oss-200b-F16.gguf", "", None),
        ("gpt-oss-20bx.gguf", "", None),
        ("llama-3-8b-Q4_0.gguf", "someone/llama", None),
    ],
)
def test_which_release(path: str, repo: str, model: str | None) -> None:
    assert release_of(path, repo) == model


@pytest.mark.parametrize(
    "path",
    [
        "eagle3-gpt-oss-20b-Q8_0.gguf",
        "EAGLE3-gpt-oss-20b-BF16.gguf",
        "gpt-oss-20b-eagle3-Q8_0.gguf",
        "dflash-gpt-oss-20b-Q8_0.gguf",
        "mtp-gpt-oss-20b-Q8_0.gguf",
        "mmproj-gpt-oss-20b-F16.gguf",
        "gpt-oss-20b-imatrix.gguf",
        "imatrix_unsloth.gguf",
        "gpt-oss-safeguard-20b-Q4_K_M.gguf",
        "gpt-oss-20b-MXFP4.gguf.part",
        "gpt-oss-20b-MXFP4.safetensors",
        "README.md",
    ],
)
def test_what_is_no_candidate(path: str) -> None:
    # Regression kept out: a picker by label takes the 0.9 GB draft head `eagle3-...-Q8_0` for the model.
    found, _ = names("gpt-oss-20b-MXFP4.gguf", path)
    assert found == [("gpt-oss-20b", "MXFP4", 1)]


def test_parts_are_one_model_in_order() -> None:
    paths = [f"Q8_0/gpt-oss-120b-Q8_0-0000{i}-of-00003.gguf" for i in (3, 1, 2)]
    found = classify([Listed(path, 10) for path in paths], repo="u/r", revision="c0").files
    assert [part.path for part in found[0].parts] == sorted(paths)
    assert found[0].size_bytes == 30
    assert (found[0].repo, found[0].revision, found[0].name) == ("u/r", "c0", "u/r:Q8_0")


@pytest.mark.parametrize("present", [(1,), (2,), (1, 3), (0, 1), (1, 2, 4)])
def test_incomplete_parts_are_left_out_with_a_note(present: tuple[int, ...]) -> None:
    found, notes = names(*(f"gpt-oss-120b-F16-{i:05d}-of-00003.gguf" for i in present))
    assert found == []
    assert "parts missing" in notes[0]


def test_of_two_spellings_the_single_file_stays() -> None:
    single, split = "gpt-oss-120b-MXFP4.gguf", [f"gpt-oss-120b-mxfp4-0000{i}-of-00002.gguf" for i in (1, 2)]
    found, notes = names(single, *split)
    assert found == [("gpt-oss-120b", "MXFP4", 1)]
    assert "left out beside" in notes[0]


def test_two_releases_in_one_repository_get_names_that_tell_them_apart() -> None:
    found = classify(
        [Listed("gpt-oss-20b-MXFP4.gguf"), Listed("gpt-oss-120b-MXFP4.gguf")], repo="u/r", revision=None
    ).files
    assert {file.model for file in found} == {"gpt-oss-20b", "gpt-oss-120b"}
    assert {file.name for file in found} == {"u/r:gpt-oss-20b-MXFP4", "u/r:gpt-oss-120b-MXFP4"}


def test_any_model_of_a_repository_that_was_named() -> None:
    found, _ = names("Llama-3.2-1B-Q4_K_M.gguf", "mmproj-F16.gguf", repo="x/y", releases_only=False)
    assert found == [("Llama-3.2-1B", "Q4_K_M", 1)]
    found, _ = names("gpt-oss-safeguard-20b-Q4_K_M.gguf", repo="x/y", releases_only=False)
    assert found == [("gpt-oss-safeguard-20b", "Q4_K_M", 1)]
    found, _ = names("model.gguf", repo="x/y", releases_only=False)
    assert found == [("model", "model", 1)]


def test_every_file_that_is_known_is_classified() -> None:
    catalogue = shipped()
    for repo in catalogue.repos:
        files = [file for file in catalogue.files if file.repo == repo.repo]
        listed = [Listed(part.path) for file in files for part in file.parts]
        found = classify(listed, repo=repo.repo, revision="c0")
        assert found.notes == ()
        assert {(file.model, file.quant) for file in found.files} == {(repo.model, file.quant) for file in files}


KNOWN = [part.path for file in shipped().files for part in file.parts if len(file.parts) == 1]


@given(st.sampled_from(KNOWN), st.sampled_from([str.lower, str.upper]))
def test_case_changes_neither_model_nor_label(path: str, spell: Callable[[str], str]) -> None:
    (file,) = classify([Listed(path)], repo="a/gpt-oss", revision=None).files
    (respelled,) = classify([Listed(spell(path))], repo="a/gpt-oss", revision=None).files
    assert respelled.model == file.model
    assert respelled.quant.upper() == file.quant.upper()
    assert respelled.dense_bpw == file.dense_bpw


@given(st.lists(st.text(max_size=40).map(lambda name: name + ".gguf"), max_size=8, unique=True), st.booleans())
def test_any_names_at_all(paths: list[str], releases_only: bool) -> None:
    found = classify([Listed(path) for path in paths], repo="a/b", revision=None, releases_only=releases_only)
    assert len({file.name.upper() for file in found.files}) == len(found.files)
    assert all(file.parts and file.model and file.quant for file in found.files)


def test_labels_that_say_how_dense_a_file_is() -> None:
    found = classify([Listed("gpt-oss-20b-bf16.gguf"), Listed("gpt-oss-20b-Q3_K_L.gguf")], repo="u/r", revision=None)
    assert [(file.quant, file.dense_bpw) for file in found.files] == [("bf16", 16.0), ("Q3_K_L", None)]
    assert UNIFORM_BPW["MXFP4"] == UNIFORM_BPW["Q8_0"]
