"""Where other applications keep models: their defaults on each system, and what their settings name instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.store.apps import Place, places
from tests.store.layouts import put_text


def found(home: Path, *, platform: str = "linux", model_dirs: tuple[Path, ...] = (), **env: str) -> dict[str, Path]:
    """Roots by application; of several of one application the first."""
    given = {"HOME": str(home), "OLLAMA_MODELS": str(home / "nothing"), **env}
    roots: dict[str, Path] = {}
    for place in places(env=given, platform=platform, model_dirs=model_dirs):
        roots.setdefault(place.app, place.root)
    return roots


DEFAULTS = {
    "linux": {
        "hub cache": ".cache/huggingface/hub",
        "llama.cpp": ".cache/llama.cpp",
        "LM Studio": ".lmstudio/models",
        "Jan": ".local/share/Jan/data",
        "GPT4All": ".local/share/nomic.ai/GPT4All",
        "Ollama": ".ollama/models",
    },
    "darwin": {
        "hub cache": ".cache/huggingface/hub",
        "llama.cpp": "Library/Caches/llama.cpp",
        "LM Studio": ".lmstudio/models",
        "Jan": "Library/Application Support/Jan/data",
        "GPT4All": "Library/Application Support/nomic.ai/GPT4All",
        "Ollama": ".ollama/models",
    },
    "win32": {
        "hub cache": ".cache/huggingface/hub",
        "llama.cpp": "AppData/Local/llama.cpp",
        "LM Studio": ".lmstudio/models",
        "Jan": "AppData/Roaming/Jan/data",
        "GPT4All": "AppData/Local/nomic.ai/GPT4All",
        "Ollama": ".ollama/models",
    },
}


@pytest.mark.parametrize("platform", DEFAULTS)
def test_the_defaults_of_each_system(tmp_path: Path, platform: str) -> None:
    expected = {app: tmp_path / folder for app, folder in DEFAULTS[platform].items()}
    assert found(tmp_path, platform=platform, OLLAMA_MODELS="") == {}
    for folder in expected.values():
        folder.mkdir(parents=True)
    assert found(tmp_path, platform=platform, OLLAMA_MODELS="", USERPROFILE=str(tmp_path)) == expected


def test_windows_variables_go_before_the_profile_folder(tmp_path: Path) -> None:
    roaming, local = tmp_path / "r", tmp_path / "l"
    for folder in (roaming / "Jan" / "data", local / "nomic.ai" / "GPT4All", local / "llama.cpp"):
        folder.mkdir(parents=True)
    roots = found(tmp_path, platform="win32", APPDATA=str(roaming), LOCALAPPDATA=str(local))
    assert roots == {
        "Jan": roaming / "Jan" / "data",
        "GPT4All": local / "nomic.ai" / "GPT4All",
        "llama.cpp": local / "llama.cpp",
    }


def in_settings(home: Path, folder: Path) -> None:
    put_text(home / ".lmstudio" / "settings.json", f'{{"downloadsFolder": "{folder}"}}')


def in_older_settings(home: Path, folder: Path) -> None:
    put_text(home / ".config" / "LM Studio" / "settings.json", f'\ufeff{{"downloadsFolder": "{folder}"}}')


def in_a_moved_home(home: Path, folder: Path) -> None:
    put_text(home / ".lmstudio-home-pointer", f"{folder.parent}\n")
    folder.rename(folder.parent / "models")


@pytest.mark.parametrize("say", [in_settings, in_older_settings, in_a_moved_home])
def test_lm_studio_is_where_it_says(tmp_path: Path, say: Callable[[Path, Path], None]) -> None:
    folder = tmp_path / "elsewhere" / "gguf"
    folder.mkdir(parents=True)
    (tmp_path / ".lmstudio" / "models").mkdir(parents=True)
    say(tmp_path, folder)
    assert found(tmp_path)["LM Studio"].parent == folder.parent


def test_jan_is_where_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "big disk"
    folder.mkdir()
    put_text(tmp_path / ".local/share/Jan/settings.json", f'{{"data_folder": "{folder}"}}')
    (tmp_path / ".local/share/Jan/data").mkdir()
    assert found(tmp_path)["Jan"] == folder
    assert found(tmp_path, JAN_DATA_FOLDER=str(tmp_path))["Jan"] == tmp_path


@pytest.mark.parametrize("config", [".config/nomic.ai", ".config/gpt4all.io"])
def test_gpt4all_is_where_it_says(tmp_path: Path, config: str) -> None:
    folder = tmp_path / "big disk"
    folder.mkdir()
    put_text(tmp_path / config / "GPT4All.ini", f"[General]\nchatTheme=Light\nmodelPath={folder}/\nthreadCount=4\n")
    assert found(tmp_path, platform="linux")["GPT4All"] == folder
    assert found(tmp_path, platform="darwin")["GPT4All"] == folder


def test_ollama_and_llama_cpp_are_where_a_variable_says(tmp_path: Path) -> None:
    (tmp_path / ".ollama" / "models").mkdir(parents=True)
    named = tmp_path / "named"
    named.mkdir()
    env = {"HOME": str(tmp_path), "OLLAMA_MODELS": f'"{named}"', "LLAMA_CACHE": str(named)}
    assert places(env=env, platform="linux") == (
        # Since 2026 llama.cpp keeps the hub's layout there, beside what older versions left.
        Place(app="llama.cpp", root=named, layout="hub"),
        Place(app="llama.cpp", root=named, layout="flat"),
        Place(app="Ollama", root=named, layout="ollama"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"downloadsFolder": 7}',
        '{"downloadsFolder": "rel/ative"}',
        '{"downloadsFolder": "/\\u0000"}',
        "\x00\xff",
    ],
)
def test_settings_that_say_nothing_leave_the_default(tmp_path: Path, text: str) -> None:
    put_text(tmp_path / ".lmstudio" / "settings.json", text)
    put_text(tmp_path / ".lmstudio-home-pointer", "\n")
    (tmp_path / ".lmstudio" / "models").mkdir()
    assert found(tmp_path)["LM Studio"] == tmp_path / ".lmstudio" / "models"


def test_settings_of_absurd_size_are_not_read(tmp_path: Path) -> None:
    put_text(tmp_path / ".lmstudio" / "settings.json", f'{{"downloadsFolder": "{tmp_path}"}}'.ljust(1024**2 + 1))
    assert "LM Studio" not in found(tmp_path)


def test_folders_of_the_person_come_early_and_each_folder_once(tmp_path: Path) -> None:
    models = tmp_path / ".lmstudio" / "models"
    models.mkdir(parents=True)
    (tmp_path / "link").symlink_to(models)
    gone, strange = tmp_path / "gone", Path("/\0")
    env = {"HOME": str(tmp_path), "OLLAMA_MODELS": "/none"}
    named = places(env=env, platform="linux", model_dirs=(tmp_path / "link", models, gone, strange))
    assert [(place.app, place.root) for place in named] == [("your folder", tmp_path / "link")]
