import itertools
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from launcher.catalogue.shipped import FILE_NAME, HEADER_BYTES, RecipeBook, parse_shipped, read_shipped
from launcher.catalogue.types import FilePart, ModelFile
from launcher.configs import configs_dir
from launcher.errors import DamagedFileError
from tests.catalogue.builders import shipped

TEXT = (configs_dir() / FILE_NAME).read_text(encoding="utf-8")
BOOK = RecipeBook(shipped(), ())

# Bits per dense weight and sizes, as published for the files themselves.
PUBLISHED = {
    "ggml-org/gpt-oss-20b-GGUF:MXFP4": (8.5, 12_109_566_624),
    "ggml-org/gpt-oss-120b-GGUF:MXFP4": (8.5, 63_387_346_208),
    "unsloth/gpt-oss-20b-GGUF:F16": (16.0, 13_792_639_168),
    "unsloth/gpt-oss-120b-GGUF:F16": (16.0, 65_369_017_728),
    "unsloth/gpt-oss-20b-GGUF:Q8_0": (8.5, 12_109_567_168),
    "unsloth/gpt-oss-20b-GGUF:UD-Q8_K_XL": (13.34, 13_195_442_368),
    "unsloth/gpt-oss-120b-GGUF:UD-Q8_K_XL": (12.61, 64_473_222_752),
    "unsloth/gpt-oss-20b-GGUF:UD-Q4_K_XL": (7.44, 11_872_347_328),
    "unsloth/gpt-oss-120b-GGUF:UD-Q4_K_XL": (7.1, 63_016_311_392),
    "unsloth/gpt-oss-20b-GGUF:Q6_K": (8.19, 12_041_000_128),
    "unsloth/gpt-oss-20b-GGUF:Q5_K_M": (6.75, 11_717_357_248),
    "unsloth/gpt-oss-20b-GGUF:Q5_K_S": (6.73, 11_711_827_648),
    "unsloth/gpt-oss-20b-GGUF:Q4_K_M": (6.34, 11_624_759_488),
    "unsloth/gpt-oss-120b-GGUF:Q4_K_M": (6.16, 62_768_723_552),
    "unsloth/gpt-oss-20b-GGUF:Q4_K_S": (6.31, 11_618_492_608),
    "unsloth/gpt-oss-20b-GGUF:Q4_1": (6.13, 11_577_504_448),
    "unsloth/gpt-oss-20b-GGUF:Q4_0": (5.79, 11_501_495_488),
    "unsloth/gpt-oss-20b-GGUF:Q3_K_M": (5.81, 11_506_103_488),
    "unsloth/gpt-oss-20b-GGUF:Q3_K_S": (5.62, 11_463_894_208),
    "unsloth/gpt-oss-20b-GGUF:Q2_K": (5.64, 11_468_317_888),
    "unsloth/gpt-oss-20b-GGUF:Q2_K_L": (6.93, 11_757_884_608),
    "unsloth/gpt-oss-120b-GGUF:Q2_K_L": (6.5, 62_859_823_712),
    "lmstudio-community/gpt-oss-120b-GGUF:MXFP4": (8.5, 63_387_345_440),
    "bartowski/openai_gpt-oss-20b-GGUF:Q6_K_L": (8.19, 12_040_998_976),
}


@cache
def files() -> dict[str, ModelFile]:
    return {file.name: file for repo in shipped().repos for file in shipped().model_files(repo.repo)}


def test_recipes_give_the_published_sizes_and_bits() -> None:
    totals = {f"{file.repo}:{file.quant}": file.total_bytes for file in shipped().files}
    for name, (bpw, size_bytes) in PUBLISHED.items():
        weights = BOOK.weights(files()[name])
        assert weights is not None, name
        # One catalogue number is printed with a single digit.
        assert weights.dense_bpw == pytest.approx(bpw, abs=0.0051), name
        assert totals[name] == size_bytes
        assert size_bytes - weights.total_bytes in range(13_006_000, 13_024_000), name


def test_every_shipped_file_can_be_planned_for() -> None:
    assert all(BOOK.weights(file) for file in files().values())
    assert len(files()) == len(shipped().files)


def test_listed_totals_are_those_of_their_parts() -> None:
    for file in shipped().files:
        sizes = [part.size_bytes for part in file.parts]
        assert (file.size_basis == "listed") == (None not in sizes), file
        if file.size_basis == "listed":
            assert sum(size for size in sizes if size) == file.total_bytes
        assert (file.size_basis is None) == (file.total_bytes is None)


def test_hashes_and_revisions_look_like_what_they_are() -> None:
    for file in shipped().files:
        assert file.revision is None or re.fullmatch(r"[0-9a-f]{40}", file.revision)
        for part in file.parts:
            assert part.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", part.sha256)
    hashes = [part.sha256 for file in shipped().files for part in file.parts if part.sha256]
    assert len(hashes) == len(set(hashes)) >= 10


NATIVE = files()["ggml-org/gpt-oss-20b-GGUF:MXFP4"]
SIZE = NATIVE.size_bytes or 0


def listed(quant: str, size_bytes: int | None, sha256: str | None = None, model: str = "gpt-oss-20b") -> ModelFile:
    part = FilePart(path=f"x-{quant}.gguf", size_bytes=size_bytes, sha256=sha256)
    return ModelFile(model=model, quant=quant, repo="x/y", revision="c", parts=(part,), dense_bpw=None)


def test_a_known_hash_is_enough() -> None:
    found = BOOK.weights(listed("whatever", None, NATIVE.parts[0].sha256))
    assert found is not None
    assert found.dense_bpw == 8.5


def test_a_label_counts_only_with_the_right_size() -> None:
    assert BOOK.weights(listed("MXFP4_MOE", SIZE + 900)) == BOOK.weights(NATIVE)
    assert BOOK.weights(listed("mxfp4", SIZE)) == BOOK.weights(NATIVE)
    bf16 = BOOK.weights(listed("BF16", 13_792_640_000))
    assert bf16 is not None
    assert bf16.dense_bpw == 16
    for file in (listed("MXFP4", None), listed("MXFP4", SIZE + 10**7), listed("Q4_K_M", SIZE), listed("IQ3_M", SIZE)):
        assert BOOK.weights(file) is None


def test_a_rebuilt_file_under_a_known_name_is_not_taken_for_the_old_one() -> None:
    part = replace(NATIVE.parts[0], size_bytes=SIZE + 5 * 10**7, sha256="0" * 64)
    assert BOOK.weights(replace(NATIVE, parts=(part,))) is None
    part = replace(NATIVE.parts[0], size_bytes=SIZE + 2048, sha256="0" * 64)
    assert BOOK.weights(replace(NATIVE, parts=(part,))) == BOOK.weights(NATIVE)


def test_other_models_have_no_recipe() -> None:
    assert BOOK.weights(listed("Q8_0", SIZE, model="llama")) is None


def test_no_two_recipes_can_be_mixed_up_by_size() -> None:
    for model in shipped().models:
        totals = sorted(
            {(w.total_bytes, w.dense_bpw) for f in files().values() if f.model == model and (w := BOOK.weights(f))}
        )
        for (smaller, _), (larger, _) in itertools.pairwise(totals):
            assert larger - smaller > len(HEADER_BYTES)


# What a maintainer may get wrong


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "schema: expected 1"),
        ('as_of = "', 'colour = "red"\nas_of = "', "colour: no such field"),
        ("n_swa = 128", "n_swa = 128\nn_sva = 1", r"models\.gpt-oss-20b\.n_sva: no such field"),
        ("n_swa = 128\n", "", r"models\.gpt-oss-20b\.n_swa: missing"),
        ('attn_q = "f16"', 'attn_q = "f17"', r"recipes\.F16: unknown ggml type 'f17'"),
        ('recipe = "F16"', 'recipe = "F61"', "no known recipe"),
        ('repo = "ggml-org/gpt-oss-20b-GGUF"\nquant', 'repo = "ggml-org/other"\nquant', "not in repos"),
        ('model = "gpt-oss-20b"', 'model = "gpt-oss-21b"', "not in models"),
        ('\nsize_basis = "listed"', '\nsize_basis = "guessed"', "size_basis"),
        ('raised_layers = "more_bits"', 'raised_layers = "most_bits"', "raised_layers"),
        ("schema = 1", "schema = ", "Invalid value"),
        (TEXT, 'schema = 1\nas_of = ""\nrepos = []\nmodels = 3', "models: expected an object"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        parse_shipped(TEXT.replace(old, new, 1))


def test_an_installation_without_a_readable_catalogue(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="shipped catalogue"):
        read_shipped(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(DamagedFileError, match="shipped catalogue"):
        read_shipped(tmp_path)
