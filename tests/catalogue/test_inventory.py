"""Models on this disk against what the hub lists: the same file, another build, a fine-tune, a damaged copy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from launcher.catalogue.inventory import Inventory, take_inventory
from launcher.catalogue.load import load_catalogue
from launcher.catalogue.types import Catalogue, FilePart, ModelFile
from launcher.errors import NetworkError
from launcher.store.hashes import HashRecord, hash_file, read_hash, write_hash
from tests.catalogue.builders import make_gguf, shipped
from tests.catalogue.test_local import release
from tests.store import layouts
from tests.store.layouts import put

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
RELEASE = release()
REPO = layouts.REPO


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


Take = Callable[..., Inventory]


@pytest.fixture
def take(tmp_path: Path, home: Path) -> Take:
    env = {"HOME": str(home), "OLLAMA_MODELS": str(home / ".ollama" / "models")}
    return partial(take_inventory, cache_dir=tmp_path / "cache", shipped=shipped(), env=env, now=NOW)


def listed(content: bytes = RELEASE, *, sha256: str | None = "", quant: str = "MXFP4") -> ModelFile:
    """As the hub lists a file with this content."""
    own = hashlib.sha256(content).hexdigest() if sha256 == "" else sha256
    part = FilePart(path=layouts.FILE, size_bytes=len(content), sha256=own)
    return ModelFile(model="gpt-oss-20b", quant=quant, repo=REPO, revision="c" * 40, parts=(part,), dense_bpw=8.5)


def lm_studio(home: Path, content: bytes | Path = RELEASE, **names: str) -> Path:
    return layouts.lm_studio(home / ".lmstudio" / "models", content, **names)


def test_a_small_file_is_known_by_its_hash(home: Path, take: Take, tmp_path: Path) -> None:
    path = lm_studio(home)
    found = take().match(listed())
    assert found is not None
    assert (found.path, found.app) == (path, "LM Studio")
    record = read_hash(tmp_path / "cache", path)
    assert record is not None, "and hashed once"
    assert record.sha256 == hashlib.sha256(RELEASE).hexdigest()


def test_equal_size_and_other_content_is_another_file(home: Path, take: Take) -> None:
    other = release(metadata={"general.name": "Gpt Oss 20B"})
    assert len(other) == len(RELEASE)
    lm_studio(home, other)
    assert take().match(listed()) is None
    (own,) = take().own_entries([listed()], model=None)
    assert (own.repo, own.found_in, own.quant) == (None, "LM Studio", "MXFP4")


def test_a_cache_that_calls_a_file_by_its_hash_is_believed(home: Path, take: Take) -> None:
    path = layouts.ollama(home / ".ollama" / "models", RELEASE, name="hf.co/ggml-org/gpt-oss-20b-GGUF/MXFP4")
    found = take().match(listed())
    assert found is not None
    assert (found.path, found.app) == (path, "Ollama")
    assert take().match(listed(sha256="f" * 64)) is None


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As long as ggml-org's file to the byte, with its header, and holes for weights."""
    path = tmp_path_factory.mktemp("full") / layouts.FILE
    make_gguf.main([str(path)])
    return path


def native(**changes: Any) -> ModelFile:
    (file,) = [file for file in shipped().model_files(REPO) if file.quant == "MXFP4"]
    return replace(file, **changes)


def test_a_large_file_is_known_by_header_and_size(home: Path, take: Take, full_size: Path) -> None:
    path = lm_studio(home, full_size, file="model.gguf")
    inventory = take()
    (model,) = inventory.models
    assert (model.facts.recipe, model.facts.quant) == ("Q8_0", "MXFP4"), "by its tensors: the name says nothing"
    found = inventory.match(native())
    assert found is not None
    assert found.path == path
    (part,) = native().parts
    assert inventory.match(native(parts=(replace(part, size_bytes=12_109_566_656),))) is None
    assert inventory.match(native(quant="F16")) is None, "its tensors are others"
    assert inventory.match(native(quant="UD-Q8_K_XL")) is None
    assert inventory.match(native(model="gpt-oss-120b")) is None


def test_what_a_download_manager_still_writes_is_not_used(home: Path, take: Take, full_size: Path) -> None:
    """aria2 gives a file its whole length, and its header, long before its content."""
    path = lm_studio(home, full_size)
    put(path.with_name(f"{path.name}.aria2"), b"x")
    assert take().match(native()) is None
    assert take().own_entries([], model=None) == ()


def test_a_name_that_lies_about_the_quant_is_not_believed(home: Path, take: Take, full_size: Path) -> None:
    lm_studio(home, full_size, file="gpt-oss-20b-Q4_K_M.gguf")
    (model,) = take().models
    assert model.facts.quant == "MXFP4"


def test_a_large_file_whose_hash_is_another_is_not_the_listed_one(
    home: Path, take: Take, tmp_path: Path, full_size: Path
) -> None:
    """Of one size to the byte, as two of ggml-org's builds are, or damaged."""
    path = lm_studio(home, full_size)
    found = path.stat()
    record = HashRecord(
        path=str(path), size_bytes=found.st_size, mtime_ns=found.st_mtime_ns, sha256="d" * 64, hashed_at=NOW.isoformat()
    )
    write_hash(tmp_path / "cache", record)
    inventory = take()
    assert inventory.match(native()) is None
    assert len(inventory.own_entries([native()], model=None)) == 1, "another build, as far as is known"
    write_hash(tmp_path / "cache", replace(record, expected=native().parts[0].sha256))
    assert take().own_entries([native()], model=None) == (), "damaged: no candidate at all"
    write_hash(tmp_path / "cache", replace(record, sha256=str(native().parts[0].sha256)))
    assert take().match(native()) is not None


def test_a_fine_tune_is_neither_the_listed_file_nor_a_candidate(home: Path, take: Take) -> None:
    content = release(metadata={"general.name": "Gpt Oss 20b Uncensored"})
    lm_studio(home, content)
    inventory = take()
    assert inventory.match(replace(listed(content, sha256=None))) is None
    assert inventory.own_entries([], model=None) == ()


def test_split_models_need_all_their_parts(home: Path, take: Take, tmp_path: Path) -> None:
    make_gguf.main([str(tmp_path / "gpt-oss-120b-F16.gguf"), "--model", "120b", "--recipe", "F16", "--split", "2"])
    names = [f"gpt-oss-120b-F16-0000{no}-of-00002.gguf" for no in (1, 2)]
    second = tmp_path / names[1]
    lm_studio(home, tmp_path / names[0], file=names[0])
    (model,) = take().models
    assert (model.facts.state, model.facts.why, len(model.parts)) == ("incomplete", "1 of 2 parts are here", 1)
    lm_studio(home, second, file=names[1])
    (model,) = take().models
    assert (model.facts.state, model.facts.quant) == ("complete", "F16")
    sizes = [part.size_bytes for part in model.parts]
    parts = tuple(FilePart(path=name, size_bytes=size, sha256=None) for name, size in zip(names, sizes, strict=True))
    file = ModelFile(model="gpt-oss-120b", quant="F16", repo="a/b", revision=None, parts=parts, dense_bpw=None)
    assert take().match(file) is not None
    assert take().match(replace(file, parts=parts[::-1])) is None, "the sizes are those of other parts"


def test_one_content_under_several_names_is_one_model(home: Path, take: Take) -> None:
    pointer = layouts.hub(home / ".cache/huggingface/hub", RELEASE)
    layouts.hub(home / ".cache/huggingface/hub", RELEASE, commit="d" * 40)
    linked = lm_studio(home, pointer.resolve())
    inventory = take()
    (model,) = inventory.models
    assert model.app == "hub cache"
    assert linked in [seen.path for seen in model.also]
    assert len(model.also) == 2


def test_two_copies_are_one_candidate(home: Path, take: Take) -> None:
    lm_studio(home, RELEASE)
    put(home / ".cache" / "llama.cpp" / "gpt-oss-20b-MXFP4.gguf", RELEASE)
    inventory = take()
    assert len(inventory.models) == 2
    assert len(inventory.own_entries([], model=None)) == 1
    assert inventory.own_entries([listed()], model=None) == ()
    assert inventory.own_entries([], model="gpt-oss-120b") == ()


def test_folders_of_the_person_are_looked_through(tmp_path: Path, take: Take) -> None:
    path = put(tmp_path / "mine" / "a" / "gpt-oss-20b-MXFP4.gguf", RELEASE)
    assert take().models == ()
    (model,) = take(model_dirs=(tmp_path / "mine",)).models
    assert (model.path, model.app) == (path, "your folder")


def test_a_hash_is_that_of_the_file_as_it_is(home: Path, tmp_path: Path) -> None:
    path = lm_studio(home)
    record = hash_file(path, hashed_at=NOW.isoformat())
    assert record is not None
    write_hash(tmp_path, record)
    assert read_hash(tmp_path, path) == record
    path.write_bytes(b"other")
    assert read_hash(tmp_path, path) is None


def test_a_file_that_changes_while_it_is_hashed_has_no_hash(home: Path) -> None:
    path = lm_studio(home)

    def grow(_n_bytes: int) -> None:
        with path.open("ab") as stream:
            stream.write(b"x" if path.stat().st_size < len(RELEASE) + 3 else b"")

    assert hash_file(path, hashed_at=NOW.isoformat(), advance=grow) is None


# In a catalogue


@pytest.fixture
def load(tmp_path: Path, home: Path) -> Callable[..., Catalogue]:
    def refuse(repo: str) -> Any:
        raise NetworkError(f"no way to {repo}")

    def load(model: str = "20b", **options: Any) -> Catalogue:
        given = {"offline": False, "refresh": False, "isa": (), "cache_dir": tmp_path / "cache", "now": NOW, **options}
        env = {"HOME": str(home), "OLLAMA_MODELS": str(home / ".ollama" / "models")}
        return load_catalogue(request_model=model, list_repo=refuse, environ=env, **given)

    return load


def test_a_listed_file_is_used_where_it_lies(home: Path, load: Callable[..., Catalogue], full_size: Path) -> None:
    path = lm_studio(home, full_size)
    catalogue = load()
    (here,) = [file for file in catalogue.files if file.local_path is not None]
    assert (here.name, here.local_path, here.found_in) == (f"{REPO}:MXFP4", path, "LM Studio")
    assert catalogue.weights[here.name].basis == "header"
    assert catalogue.cut_off
    assert catalogue.loadable.files == (here,), "the hub is out of reach: nothing else can be loaded"


def test_an_older_build_is_a_candidate_by_its_path(home: Path, load: Callable[..., Catalogue], full_size: Path) -> None:
    path = home / "old" / "gpt-oss-20b-mxfp4.gguf"
    with full_size.open("rb") as stream:
        header = stream.read(14 * 1024**2)
    put(path, header)
    with path.open("r+b") as stream:
        stream.truncate(full_size.stat().st_size + 96)  # longer than the listed one, as an older header is
    catalogue = load(model_dirs=(path.parent,))
    (here,) = [file for file in catalogue.files if file.local_path is not None]
    assert (here.name, here.repo, here.found_in, here.quant) == (str(path), None, "your folder", "mxfp4")
    assert here.name in catalogue.weights
    named = load(f"{REPO}:MXFP4", model_dirs=(path.parent,))
    assert [file.local_path for file in named.files] == [None], "a repository that was named is meant"


def test_ollamas_layout_is_explained_where_nothing_else_is_here(
    home: Path, load: Callable[..., Catalogue], full_size: Path
) -> None:
    layouts.ollama(home / ".ollama" / "models", layouts.ollamas_own(RELEASE))
    note = "gpt-oss:20b of Ollama is not used: it is in Ollama's own layout of GPT OSS"
    assert any(text.startswith(note) for text in load().notes)
    assert not any("Ollama" in text for text in load("120b").notes)
    lm_studio(home, full_size)
    assert not any("Ollama" in text for text in load().notes)


def test_a_header_on_this_disk_never_stands_for_a_listed_file(
    home: Path, load: Callable[..., Catalogue], tmp_path: Path, full_size: Path
) -> None:
    from launcher.catalogue.cache import header_key

    lm_studio(home, full_size)
    load()
    key = header_key(native())
    assert not (tmp_path / "cache" / "headers" / f"{key}.json").exists()


def test_a_repository_that_nothing_else_is_known_of_is_what_the_cache_holds(
    home: Path, load: Callable[..., Catalogue]
) -> None:
    pointer = layouts.hub(home / ".cache/huggingface/hub", RELEASE, repo="someone/tuned-GGUF", file="tuned-Q8_0.gguf")
    for name in ("someone/tuned-GGUF", "someone/tuned-GGUF:Q8_0"):
        catalogue = load(name, offline=True)
        (file,) = catalogue.files
        assert (file.name, file.local_path, file.revision) == ("someone/tuned-GGUF:Q8_0", pointer, layouts.COMMIT)
        assert catalogue.source == "disk"
        assert file.name in catalogue.weights
    with pytest.raises(NetworkError, match="nothing is known of someone/other"):
        load("someone/other", offline=True)
