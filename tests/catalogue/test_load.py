import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from launcher.catalogue.load import load_catalogue
from launcher.catalogue.types import Catalogue, ModelFile
from launcher.errors import DamagedFileError, NetworkError, UsageError
from tests.catalogue.builders import shipped, tiny_file

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
GGML_20B = "ggml-org/gpt-oss-20b-GGUF"
Load = Callable[..., Catalogue]


@dataclass(frozen=True)
class Listed:
    path: str
    size_bytes: int | None
    sha256: str | None = None


@dataclass(frozen=True)
class Listing:
    repo: str
    commit: str
    files: tuple[Listed, ...]


@dataclass
class FakeHub:
    """Lists what the shipped catalogue knows, unless told otherwise; counts requests."""

    repos: dict[str, tuple[Listed, ...]] = field(default_factory=dict)
    failure: NetworkError | None = None
    failures: dict[str, NetworkError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, repo: str) -> Listing:
        self.asked.append(repo)
        failure = self.failure or self.failures.get(repo)
        if failure:
            raise failure
        return Listing(repo=repo, commit="c" * 40, files=self.repos.get(repo, known_files(repo)))


def known_files(repo: str) -> tuple[Listed, ...]:
    files = [file for file in shipped().files if file.repo == repo]
    draft = Listed(path="eagle3-gpt-oss-20b-Q8_0.gguf", size_bytes=900_000_000)
    return (draft, *(Listed(part.path, part.size_bytes, part.sha256) for file in files for part in file.parts))


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(request_model: str = "auto", *, hub: FakeHub | None = None, **options: Any) -> Catalogue:
        options = {
            "offline": False,
            "refresh": False,
            "isa": ("AVX2",),
            "cache_dir": tmp_path,
            "find_local": lambda file: None,
            "now": NOW,
            "environ": {},
            **options,
        }
        return load_catalogue(request_model=request_model, list_repo=hub or FakeHub(), **options)

    return load


def test_all_repositories_are_listed_in_order_of_preference(load: Load) -> None:
    hub = FakeHub()
    catalogue = load(hub=hub)
    assert hub.asked == [known.repo for known in shipped().repos]
    assert (catalogue.source, catalogue.as_of, catalogue.notes) == ("hub", "2026-11-01", ())
    assert catalogue.files[0].name == f"{GGML_20B}:MXFP4"
    assert {file.revision for file in catalogue.files} == {"c" * 40}
    assert not any("eagle3" in file.parts[0].path for file in catalogue.files)
    assert catalogue.weights[f"{GGML_20B}:MXFP4"].total_bytes == 12_096_558_336
    assert catalogue.files[0].dense_bpw == 8.5
    assert set(catalogue.specs) == {"gpt-oss-20b", "gpt-oss-120b"}


def test_one_release_asks_only_its_repositories(load: Load) -> None:
    hub = FakeHub()
    catalogue = load("120b", hub=hub)
    assert {file.model for file in catalogue.files} == {"gpt-oss-120b"}
    assert len(hub.asked) == 4


def test_a_warm_cache_asks_nobody(load: Load) -> None:
    cold, hub = load(), FakeHub()
    warm = load(hub=hub, now=NOW + timedelta(hours=23))
    assert hub.asked == []
    assert warm == replace(cold, source="cache")


def test_after_a_day_or_on_request_the_hub_is_asked_again(load: Load) -> None:
    load()
    later: tuple[dict[str, Any], ...] = (
        {"now": NOW + timedelta(hours=25)},
        {"refresh": True},
        {"environ": {"HF_ENDPOINT": "http://x"}},
    )
    for options in later:
        hub = FakeHub()
        load(hub=hub, **options)
        assert len(hub.asked) == 8, options


def test_a_stale_cache_serves_when_the_hub_is_out_of_reach(load: Load) -> None:
    load()
    hub = FakeHub(failure=NetworkError("the hub cannot be reached"))
    catalogue = load(hub=hub, now=NOW + timedelta(days=9))
    assert catalogue.source == "cache"
    assert catalogue.as_of == "2026-11-01"
    assert "the hub cannot be reached: the listing of" in catalogue.notes[0]
    # One refusal to connect is enough: the others would each wait for the same time-out.
    assert len(hub.asked) == 1


def test_without_a_cache_the_shipped_catalogue_serves(load: Load) -> None:
    ways: tuple[dict[str, Any], ...] = ({"hub": FakeHub(failure=NetworkError("no route"))}, {"offline": True})
    for options in ways:
        catalogue = load(**options)
        assert catalogue.source == "shipped"
        assert catalogue.as_of == shipped().as_of
        assert len(catalogue.files) == len(catalogue.weights) == len(shipped().files)
        assert len(catalogue.notes) == 1
        assert "shipped with the launcher" in catalogue.notes[0]


def test_offline_asks_nobody_even_to_refresh(load: Load) -> None:
    load()
    hub = FakeHub()
    catalogue = load(hub=hub, offline=True, refresh=True, now=NOW + timedelta(days=9))
    assert hub.asked == []
    assert catalogue.source == "cache"
    assert catalogue.notes[0].startswith("offline: the listing of")


def test_one_repository_that_is_gone_does_not_cost_the_others(load: Load) -> None:
    hub = FakeHub(failures={GGML_20B: NetworkError("404 not found", status=404)})
    catalogue = load(hub=hub)
    assert len(hub.asked) == 8
    assert catalogue.source == "hub"
    assert catalogue.notes[0].startswith(f"{GGML_20B}: 404 not found: using the catalogue that shipped")
    # Its shipped files could be planned for, but not be fetched.
    assert GGML_20B not in {file.repo for file in catalogue.files}
    assert "unsloth/gpt-oss-20b-GGUF:F16" in catalogue.weights


def test_a_repository_that_was_refused_is_not_asked_again_for_a_day(load: Load) -> None:
    gone = {GGML_20B: NetworkError("404 not found", status=404)}
    load(hub=FakeHub(failures=gone))
    warm = FakeHub()
    catalogue = load(hub=warm, now=NOW + timedelta(hours=23))
    assert warm.asked == []
    assert GGML_20B not in {file.repo for file in catalogue.files}
    for hours in (25, 51, 52):
        hub = FakeHub(failures=gone)
        load(hub=hub, now=NOW + timedelta(hours=hours))
        assert (GGML_20B in hub.asked) == (hours != 52)
    anew = FakeHub(failures=gone)
    load(hub=anew, refresh=True)
    assert GGML_20B in anew.asked
    by_name = FakeHub()
    assert load(GGML_20B, hub=by_name).files
    assert by_name.asked == [GGML_20B], "there may be a login now"
    back = FakeHub()
    assert GGML_20B in {file.repo for file in load(hub=back).files}
    assert back.asked == []


def test_a_refusal_of_everything_is_not_kept(load: Load) -> None:
    load(hub=FakeHub(failure=NetworkError("the hub does not accept the token", status=401)))
    hub = FakeHub()
    load(hub=hub)
    assert len(hub.asked) == 8


def test_a_file_that_is_here_stays_though_its_repository_is_gone(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "here.gguf"
    path.write_bytes(tiny_file())
    hub = FakeHub(failures={GGML_20B: NetworkError("404 not found", status=404)})
    catalogue = load("20b", hub=hub, find_local=lambda file: path if file.name == f"{GGML_20B}:MXFP4" else None)
    assert [file.local_path for file in catalogue.files if file.repo == GGML_20B] == [path]


def test_a_hub_that_is_failing_or_refuses_everything_leaves_the_shipped_files(load: Load) -> None:
    failing = FakeHub(failures={GGML_20B: NetworkError("the hub is failing", status=503)})
    assert f"{GGML_20B}:MXFP4" in load(hub=failing).weights
    refusing = FakeHub(failure=NetworkError("the hub does not accept the token", status=401))
    assert len(load(hub=refusing, refresh=True).files) == len(shipped().files)


def test_a_file_that_no_recipe_knows_is_listed_without_weights(load: Load) -> None:
    hub = FakeHub(repos={GGML_20B: (Listed("gpt-oss-20b-IQ3_M.gguf", 11_500_000_000),)})
    catalogue = load("20b", hub=hub)
    file = catalogue.files[0]
    assert (file.quant, file.dense_bpw) == ("IQ3_M", None)
    assert file.name not in catalogue.weights


# Repositories whose files no recipe knows


@dataclass
class FakeStorage:
    """Serves one content under every name, and notes what was opened."""

    content: bytes = field(default_factory=tiny_file)
    failures: dict[str, Exception] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    @contextmanager
    def __call__(self, repo: str, path: str, *, revision: str | None) -> Iterator[BinaryIO]:
        self.opened.append(f"{repo}/{path}")
        if repo in self.failures:
            raise self.failures[repo]
        yield io.BytesIO(self.content)


UNSLOTH_20B = "unsloth/gpt-oss-20b-GGUF"


def rebuilt(*labels: str) -> tuple[Listed, ...]:
    """Files of sizes that no recipe has, as after a repository was built anew with another tool."""
    return tuple(Listed(f"gpt-oss-20b-{label}.gguf", len(tiny_file()), f"{n:064x}") for n, label in enumerate(labels))


def test_of_a_rebuilt_repository_one_header_is_read_once(load: Load) -> None:
    hub = FakeHub(repos={GGML_20B: rebuilt("F16", "MXFP4", "Q4_K_M")})
    storage = FakeStorage()
    catalogue = load("20b", hub=hub, open_remote=storage)
    assert storage.opened == [f"{GGML_20B}/gpt-oss-20b-MXFP4.gguf"]
    assert catalogue.weights[f"{GGML_20B}:MXFP4"].basis == "header"
    assert f"{GGML_20B}:F16" not in catalogue.weights
    assert [file.quant for file in catalogue.files if file.repo == GGML_20B] == ["F16", "MXFP4", "Q4_K_M"]
    again = load("20b", hub=hub, open_remote=storage)
    assert again.weights == catalogue.weights
    assert len(storage.opened) == 1


def test_a_repository_with_one_known_file_is_not_read(load: Load) -> None:
    hub = FakeHub(repos={GGML_20B: (*known_files(GGML_20B), *rebuilt("Q4_K_M"))})
    storage = FakeStorage()
    load("20b", hub=hub, open_remote=storage)
    assert storage.opened == []


def test_offline_no_header_is_read(load: Load) -> None:
    load("20b", hub=FakeHub(repos={GGML_20B: rebuilt("MXFP4")}))
    storage = FakeStorage()
    assert f"{GGML_20B}:MXFP4" not in load("20b", offline=True, open_remote=storage).weights
    assert storage.opened == []


def test_a_header_that_cannot_be_read_costs_only_its_own_file(load: Load) -> None:
    hub = FakeHub(repos={GGML_20B: rebuilt("MXFP4"), UNSLOTH_20B: rebuilt("F16")})
    damaged = FakeStorage(content=b"no GGUF at all, though of some length")
    catalogue = load("20b", hub=hub, open_remote=damaged)
    assert len(damaged.opened) == 2
    assert [note.split(" is left out: ")[0] for note in catalogue.notes] == [f"{GGML_20B}:MXFP4", f"{UNSLOTH_20B}:F16"]
    assert "bartowski/openai_gpt-oss-20b-GGUF:Q8_0" in catalogue.weights


def test_a_hub_that_went_out_of_reach_is_asked_for_one_header_only(load: Load) -> None:
    hub = FakeHub(repos={GGML_20B: rebuilt("MXFP4"), UNSLOTH_20B: rebuilt("F16")})
    storage = FakeStorage(failures={GGML_20B: NetworkError("no route")})
    catalogue = load("20b", hub=hub, open_remote=storage)
    assert len(storage.opened) == 1
    assert catalogue.notes == (f"{GGML_20B}:MXFP4 is left out: no route",)


def test_a_file_asked_for_by_name_must_have_a_header(load: Load) -> None:
    hub = FakeHub(repos={"x/y": (Listed("tiny-Q8_0.gguf", len(tiny_file()), "a" * 64),)})
    with pytest.raises(DamagedFileError):
        load("x/y", hub=hub, open_remote=FakeStorage(content=b"not a GGUF"))


# Local files


def test_local_copies_are_marked_and_their_own_header_wins(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "here.gguf"
    path.write_bytes(tiny_file())
    calls = []

    def find(file: ModelFile) -> Path | None:
        calls.append(file.name)
        return path if file.name == f"{GGML_20B}:MXFP4" else None

    catalogue = load("20b", find_local=find)
    file = catalogue.files[0]
    assert file.local_path == path
    assert catalogue.weights[file.name].basis == "header"
    # Of that file alone: another file's table has the layers of the release.
    assert [getattr(catalogue.spec_of(each), "n_layer", None) for each in catalogue.files[:2]] == [3, 24]
    assert len(calls) == len(catalogue.files)
    path.unlink()  # the header was kept: another look needs neither the file nor the hub
    assert load("20b", find_local=find).weights[file.name] == catalogue.weights[file.name]


def test_a_damaged_local_copy_is_said_and_not_used(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_file()[:-100])
    catalogue = load("20b", find_local=lambda file: path if file.name == f"{GGML_20B}:MXFP4" else None)
    assert catalogue.files[0].local_path is None
    assert catalogue.weights[catalogue.files[0].name].basis == "catalogue"
    assert "truncated" in catalogue.notes[0]


# Named repositories, quants and paths


def test_a_quant_of_a_repository_by_any_case(load: Load) -> None:
    hub = FakeHub()
    catalogue = load("unsloth/gpt-oss-20b-GGUF:ud-q4_k_xl", hub=hub)
    assert hub.asked == ["unsloth/gpt-oss-20b-GGUF"]
    assert [file.quant for file in catalogue.files] == ["UD-Q4_K_XL"]
    assert [file.quant for file in load("20b", request_quant="f16").files] == ["F16"]


@pytest.mark.parametrize(
    ("model", "quant", "hint"),
    [
        ("unsloth/gpt-oss-20b-GGUF:Q4KM", None, "gpt-oss plan --model unsloth/gpt-oss-20b-GGUF:Q4_K_M"),
        ("20b", "Q4KM", "gpt-oss plan --model 20b --quant Q4_K_M"),
    ],
)
def test_an_unknown_quant_suggests_the_nearest(load: Load, model: str, quant: str | None, hint: str) -> None:
    with pytest.raises(UsageError, match="no quant 'Q4KM'") as caught:
        load(model, request_quant=quant)
    assert caught.value.hint == hint
    assert "F16" in caught.value.details[0]


def test_an_unknown_model(load: Load) -> None:
    with pytest.raises(UsageError, match="did you mean 120b"):
        load("12b")


def test_a_repository_of_another_model_by_name(load: Load) -> None:
    hub = FakeHub(repos={"x/y": (Listed("tiny-Q8_0.gguf", len(tiny_file()), "a" * 64), Listed("mmproj-F16.gguf", 9))})
    opened = []

    @contextmanager
    def open_remote(repo: str, path: str, *, revision: str | None) -> Iterator[BinaryIO]:
        opened.append((repo, path, revision))
        yield io.BytesIO(tiny_file())

    catalogue = load("x/y:Q8_0", hub=hub, open_remote=open_remote)
    assert opened == [("x/y", "tiny-Q8_0.gguf", "c" * 40)]
    (file,) = catalogue.files
    assert catalogue.weights[file.name].basis == "header"
    assert catalogue.specs["tiny"].n_layer == 3
    load("x/y:Q8_0", hub=hub, open_remote=open_remote)
    assert len(opened) == 1
    # Nothing may be read: it is listed, and cannot be planned for.
    assert load("x/y", hub=FakeHub(repos={"x/y": (Listed("other-Q8_0.gguf", 5),)}), refresh=True).weights == {}


def test_a_repository_without_models(load: Load) -> None:
    with pytest.raises(UsageError, match="no GGUF model is in x/y"):
        load("x/y", hub=FakeHub(repos={"x/y": (Listed("model.safetensors", 5),)}))


def test_a_repository_that_nothing_is_known_of(load: Load) -> None:
    with pytest.raises(NetworkError, match="offline"):
        load("x/y", offline=True)
    with pytest.raises(NetworkError, match="404"):
        load("x/y", hub=FakeHub(failure=NetworkError("404", status=404)))


def test_a_path(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "tiny-Q8_0.gguf"
    path.write_bytes(tiny_file())
    hub = FakeHub()
    catalogue = load(str(path), hub=hub)
    assert hub.asked == []
    assert (catalogue.source, catalogue.files[0].name) == ("disk", str(path))
    assert list(catalogue.weights) == [str(path)]
    assert catalogue.specs["tiny"].n_layer == 3
    with pytest.raises(DamagedFileError):
        load(str(tmp_path / "none.gguf"))


# What it costs


WARM = """
import sys, time
from datetime import datetime, UTC
from pathlib import Path
from typing import Any, BinaryIO
import launcher.catalogue.load as load
import launcher.store.local
def refuse(repo):
    raise AssertionError("the network was asked")
start = time.process_time()
catalogue = load.load_catalogue(
    request_model="auto", offline=False, refresh=False, isa=("AVX2",), cache_dir=Path(sys.argv[1]), list_repo=refuse,
    now=datetime(2026, 11, 1, 13, tzinfo=UTC), environ={"HF_HUB_CACHE": sys.argv[1]},
)
print(time.process_time() - start, len(catalogue.files), catalogue.source)
heavy = {"huggingface_hub", "httpx", "numpy", "llama_cpp", "rich", "psutil", "jinja2"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_a_warm_load_is_cheap_and_imports_nothing_heavy(load: Load, tmp_path: Path) -> None:
    load()
    src = Path(__file__).parent.parent.parent / "src"
    done = subprocess.run(
        [sys.executable, "-c", WARM, str(tmp_path)],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(src)}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cpu_s, n_files, source = done.stdout.split()
    assert int(n_files) == len(shipped().files)
    assert source == "cache"
    assert float(cpu_s) < 0.5  # 0.05 s on an idle core; the bound is for a busy one
