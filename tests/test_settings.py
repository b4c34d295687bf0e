"""Settings: four layers, one record; a slip is named with its place and what was meant."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.configs import configs_dir
from launcher.errors import DamagedFileError, UsageError
from launcher.settings import Settings, env_name, explain, flag_name, keys, resolve
from launcher.settings_file import load_settings

EXAMPLE = configs_dir() / "settings.example.toml"


def test_nothing_set_is_all_defaults() -> None:
    assert resolve() == Settings()
    assert {row.layer for row in explain(resolve())} == {"default"}


def test_a_later_layer_wins_key_by_key_and_each_value_knows_its_layer() -> None:
    settings = resolve(
        file_text='ctx_size = 4096\ntop_k = 5\nprefer = "speed"\n',
        file_name="s.toml",
        environ={"GPT_OSS_CTX_SIZE": "8192", "GPT_OSS_SEED": "7"},
        flags={"ctx_size": 16384, "seed": None},
    )
    assert (settings.ctx_size, settings.top_k, settings.prefer, settings.seed) == (16384, 5, "speed", 7)
    layers = {row.name: row.layer for row in explain(settings)}
    assert layers["ctx_size"] == "flag --ctx-size"
    assert layers["top_k"] == "file s.toml"
    assert layers["seed"] == "environment GPT_OSS_SEED"
    assert layers["model"] == "default"


def test_auto_in_a_later_layer_takes_back_what_an_earlier_one_set() -> None:
    assert resolve(file_text="ctx_size = 4096", environ={"GPT_OSS_CTX_SIZE": "auto"}).ctx_size is None


def test_auto_is_a_model_name_and_not_none() -> None:
    assert resolve(file_text='model = "auto"').model == "auto"


def test_an_empty_variable_counts_as_unset() -> None:
    assert resolve(file_text="top_k = 3", environ={"GPT_OSS_TOP_K": ""}).top_k == 3


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("GPT_OSS_OFFLINE", "1", "offline", True),
        ("GPT_OSS_OFFLINE", "No", "offline", False),
        ("GPT_OSS_REPACK", "auto", "repack", None),
        ("GPT_OSS_REPACK", "on", "repack", True),
        ("GPT_OSS_TEMPERATURE", "0", "temperature", 0.0),
        ("GPT_OSS_LOAD_MODE", "mmap+mlock", "load_mode", "mmap+mlock"),
        ("GPT_OSS_MODEL_DIRS", "/a:/b c", "model_dirs", (Path("/a"), Path("/b c"))),
        ("GPT_OSS_MIRRORS", "https://a, http://b", "mirrors", ("https://a", "http://b")),
        ("GPT_OSS_LIMIT_RATE", "5M", "limit_rate", "5M"),
        ("GPT_OSS_SYSTEM", "auto", "system", "auto"),
        ("GPT_OSS_DEVICE", "CUDA0,CUDA1", "device", "CUDA0,CUDA1"),
        ("GPT_OSS_CACHE_TYPE_K", "iq4_nl", "cache_type_k", "iq4_nl"),
        ("GPT_OSS_MIN_TPS", "12.5", "min_tps", 12.5),
        ("GPT_OSS_KV_UNIFIED", "off", "kv_unified", False),
        ("GPT_OSS_PARALLEL", "auto", "parallel", None),
    ],
)
def test_the_environment_is_text_and_becomes_what_the_key_holds(name: str, text: str, key: str, value: Any) -> None:
    assert getattr(resolve(environ={name: text}), key) == value


def test_folders_are_split_at_the_separator_of_the_system() -> None:
    settings = resolve(environ={"GPT_OSS_MODEL_DIRS": r"C:\a;D:\b"}, path_separator=";")
    assert settings.model_dirs == (Path(r"C:\a"), Path(r"D:\b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nctx_sise = 1", "s.toml, line 2: no setting is called 'ctx_sise'; did you mean 'ctx_size'?"),
        ("[sampling]\ntop_k = 1", "s.toml, line 1: no setting is called 'sampling'"),
        ("top_k = 1.5", "s.toml, line 1: top_k: expected a whole number, found 1.5"),
        ("top_k = true", "s.toml, line 1: top_k: expected a whole number, found True"),
        ('ctx_size = "big"', "s.toml, line 1: ctx_size: expected a whole number, or \"auto\", found 'big'"),
        ("ctx_size = -1", "s.toml, line 1: ctx_size: expected at least 0, found -1"),
        ("top_p = 1.5", "s.toml, line 1: top_p: expected between 0 and 1, found 1.5"),
        ("temperature = inf", "s.toml, line 1: temperature: expected a number, found inf"),
        ("seed = 4294967295", "s.toml, line 1: seed: expected between 0 and 4294967294, found 4294967295"),
        ("batch_size = 0", "s.toml, line 1: batch_size: expected at least 1, found 0"),
        ("parallel = 0", "s.toml, line 1: parallel: expected between 1 and 256, found 0"),
        ("min_tps = -1", "s.toml, line 1: min_tps: expected at least 0, found -1"),
        ("tensor_split = 3", "s.toml, line 1: tensor_split: expected text, found 3"),
        ("offline = 1", "s.toml, line 1: offline: expected true or false, found 1"),
        ("quant = 4", "s.toml, line 1: quant: expected text, found 4"),
        (
            'limit_rate = "fast"',
            "s.toml, line 1: limit_rate: expected bytes per second such as 5M or 500k, found 'fast'",
        ),
        ('limit_rate = "0"', "s.toml, line 1: limit_rate: expected bytes per second such as 5M or 500k, found '0'"),
        ("mirrors = 1", "s.toml, line 1: mirrors: expected a list of web addresses, found 1"),
        (
            'mirrors = ["hub.example"]',
            "s.toml, line 1: mirrors: expected web addresses such as https://huggingface.co, found 'hub.example'",
        ),
        ("model_dirs = [1]", "s.toml, line 1: model_dirs: expected a list of folders, found [1]"),
        (
            'prefer = "sped"',
            "s.toml, line 1: prefer: expected one of quality, speed, context, found 'sped'; did you mean 'speed'?",
        ),
        ('model_dirs = "~nobody-of-that-name"', "s.toml, line 1: model_dirs: Could not determine home directory."),
        ("layers = {}", "s.toml, line 1: no setting is called 'layers'"),
        ("top_k = ", "s.toml: Invalid value (at end of document)"),
    ],
)
def test_a_slip_in_the_file_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(file_text=text, file_name="s.toml")
    assert caught.value.message.startswith(message)
    assert caught.value.hint == "gpt-oss config edit"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"GPT_OSS_CTX_SISE": "1"}, "no setting is called GPT_OSS_CTX_SISE; did you mean 'GPT_OSS_CTX_SIZE'?"),
        ({"GPT_OSS_MODEL_DIR": "1"}, "no setting is called GPT_OSS_MODEL_DIR; did you mean 'GPT_OSS_MODEL_DIRS'?"),
        ({"GPT_OSS_SEED": "x"}, "GPT_OSS_SEED: expected a whole number, or \"auto\", found 'x'"),
        ({"GPT_OSS_YES": "maybe"}, "GPT_OSS_YES: expected true or false, found 'maybe'"),
    ],
)
def test_a_slip_in_the_environment_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(environ=environ)
    assert caught.value.message == message
    assert caught.value.hint == f"unset {next(iter(environ))}"


@pytest.mark.parametrize("name", ["GPT_OSS_CONFIG_DIR", "GPT_OSS_DATA_DIR", "GPT_OSS_HOME", "HOME"])
def test_variables_that_are_no_settings_are_left_alone(name: str) -> None:
    assert resolve(environ={name: "/x"}) == Settings()


def test_a_slip_in_a_flag_is_named_as_it_is_typed() -> None:
    with pytest.raises(UsageError, match=re.escape("--min-p: expected between 0 and 1, found 2.0")):
        resolve(flags={"min_p": 2.0})


def test_an_unknown_flag_is_a_fault_of_the_command_and_suggests_the_key() -> None:
    with pytest.raises(UsageError, match="did you mean 'threads'"):
        resolve(flags={"thread": 2})


def test_a_tuple_of_folders_from_a_command_is_taken() -> None:
    assert resolve(flags={"model_dirs": (Path("/m"),)}).model_dirs == (Path("/m"),)


@given(st.text())
def test_any_text_as_a_file_is_settings_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert isinstance(resolve(file_text=text), Settings)


@given(key=st.sampled_from(keys()), text=st.text())
def test_any_text_in_the_environment_is_a_setting_or_a_usage_error(key: str, text: str) -> None:
    with suppress(UsageError):
        assert isinstance(resolve(environ={env_name(key): text}), Settings)


# --- The example file ---


def example_assignments() -> dict[str, str]:
    """The commented-out `key = value` lines of the example, by key."""
    pattern = re.compile(r"# ([a-z_]+) = (.+)")
    matches = (pattern.fullmatch(line) for line in EXAMPLE.read_text(encoding="utf-8").splitlines())
    return {match.group(1): match.group(2) for match in matches if match}


def test_the_example_file_sets_nothing_until_it_is_edited() -> None:
    assert tomllib.loads(EXAMPLE.read_text(encoding="utf-8")) == {}


def test_the_example_file_has_every_setting() -> None:
    assert sorted(example_assignments()) == sorted(keys())


def test_the_example_file_shows_the_defaults_where_it_says_so() -> None:
    text = "\n".join(f"{key} = {value}" for key, value in example_assignments().items())
    settings = resolve(file_text=text)
    only_examples = {"quant", "system", "device", "tensor_split", "api_key_file", "cors_origins"}
    only_examples |= {"build", "url", "tools", "tools_allow", "tools_deny", "limit_rate"}
    for key in set(keys()) - only_examples:
        assert getattr(settings, key) == getattr(Settings(), key), key


@pytest.mark.parametrize("key", keys())
def test_names_follow_the_key(key: str) -> None:
    assert env_name(key) == "GPT_OSS_" + key.upper()
    assert flag_name(key) == "--" + key.replace("_", "-")


# --- Reading them from disk ---


def test_load_reads_the_file_in_the_config_folder(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("top_k = 9\n")
    settings = load_settings(environ={"GPT_OSS_CONFIG_DIR": str(tmp_path)})
    assert settings.top_k == 9
    assert settings.layers["top_k"] == f"file {tmp_path / 'settings.toml'}"


def test_no_file_is_no_error(tmp_path: Path) -> None:
    assert load_settings({"seed": 1}, environ={}, path=tmp_path / "none.toml").seed == 1


def test_a_file_that_is_no_text_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DamagedFileError) as caught:
        load_settings(environ={}, path=path)
    assert caught.value.path == str(path)


def test_a_folder_in_place_of_the_file_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError):
        load_settings(environ={}, path=tmp_path)
