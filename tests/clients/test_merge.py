"""Merging into settings that a person has: comments, order and layout stay, and nothing is done twice."""

from __future__ import annotations

import io
import json
import tomllib
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from launcher.clients.configs import patches
from launcher.clients.merge import CannotMergeError, UnreadableError, merge
from launcher.clients.types import ConfigFile, Patch
from tests.clients.builders import URL, target

FILE_CLIENTS = ("codex", "claude", "opencode", "continue", "aider", "llm")


def patch_of(name: str, index: int = 0, *, keyed: bool = False) -> Patch:
    return patches(name, target(keyed=keyed))[index]


def yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("name", FILE_CLIENTS)
@pytest.mark.parametrize("keyed", [False, True])
def test_a_second_merge_changes_nothing_and_a_change_of_mind_leaves_no_trace(name: str, *, keyed: bool) -> None:
    for index, patch in enumerate(patches(name, target(keyed=keyed))):
        once = merge("", patch)
        assert merge(once, patch) == once
        other = patch_of(name, index, keyed=not keyed)
        read: dict[str, Any] = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml}
        reader = read[patch.file.format]
        left = reader(merge(once, other))
        if name == "claude":  # its token comes before the helper, which may be the person's own
            left.pop("apiKeyHelper", None)
        fresh = reader(merge("", other))
        if name == "claude":
            fresh.pop("apiKeyHelper", None)
        assert left == fresh


CODEX = """\
# mine
model = "gpt-5"  # the usual

[model_providers.other] # another
name = "Other"
base_url = "http://other/v1"

# how it looks
[tui]
notifications = true
"""


def test_toml_keeps_comments_order_and_other_providers() -> None:
    merged = merge(CODEX, patch_of("codex"))
    for line in CODEX.splitlines():
        assert line in merged.splitlines()
    table = tomllib.loads(merged)
    assert table["model"] == "gpt-5"
    assert table["tui"] == {"notifications": True}
    assert set(table["model_providers"]) == {"other", "gpt-oss"}
    assert merged.startswith(CODEX), "a new table comes between no other and its heading"
    assert "\n\n[model_providers.gpt-oss]\n" in merged


@pytest.mark.parametrize(
    "text",
    [
        'model_providers = { a = { name = "x" } }\n',
        'model_providers.a.name = "x"\n[tui]\nb = 1\n',
        "[[x]]\na = 1\n[model_providers.a]\nb = 1\n[y]\n[model_providers.c]\nd = 2\n",
        '[model_providers."gpt-oss"]\nbase_url = "old" # c\nhttp_headers = { a = "b" }\n',
        '[ model_providers . gpt-oss ]\nbase_url = """old"""',
        "\n\n# only a comment",
    ],
)
def test_toml_of_any_layout(text: str) -> None:
    merged = merge(text, patch_of("codex"))
    before, after = tomllib.loads(text), tomllib.loads(merged)
    providers = after["model_providers"]
    assert providers["gpt-oss"]["base_url"] == f"{URL}/v1"
    assert providers["gpt-oss"].get("http_headers") == before.get("model_providers", {}).get("gpt-oss", {}).get(
        "http_headers"
    )
    ours = {"model_providers"}
    assert {key: value for key, value in after.items() if key not in ours} == {
        key: value for key, value in before.items() if key not in ours
    }
    assert before.get("model_providers", {}).keys() - {"gpt-oss"} == providers.keys() - {"gpt-oss"}
    assert merge(merged, patch_of("codex")) == merged


def test_toml_sets_top_level_keys_before_tables() -> None:
    merged = merge("[tui]\na = 1\n", patch_of("codex", 1))
    assert tomllib.loads(merged) == {
        "model": "gpt-oss-20b",
        "model_provider": "gpt-oss",
        "model_context_window": 65_536,
        "analytics": {"enabled": False},
        "tui": {"a": 1},
    }


CONTINUE = """\
# my assistants
name: Mine # so called
version: 0.0.1
schema: v1
models:
  # the first
  - name: Small
    provider: ollama # local too
    model: small
rules:
  - "be brief"
"""


def test_yaml_keeps_comments_and_adds_to_the_list() -> None:
    merged = merge(CONTINUE, patch_of("continue"))
    for line in CONTINUE.splitlines():
        assert line in merged.splitlines()
    data = yaml(merged)
    assert (data["name"], data["version"]) == ("Mine", "0.0.1"), "what a file says of itself stays"
    assert [model["name"] for model in data["models"]] == ["Small", "gpt-oss-20b (local)"]
    assert data["rules"] == ["be brief"]


@pytest.mark.parametrize(
    "item",
    [
        "  - name: A\n    model: x # beside\n",
        "  - name: A\n    roles:\n      - chat\n      # - edit\n",
        "  - name: A\n    x: {a: 1}\n",
        "  - name: A\n    x: |\n      text\n",
        "  - name: gpt-oss-20b (local)\n    model: gpt-oss-20b # beside\n    # inside\n",
        "  - A\n",
    ],
)
def test_yaml_keeps_a_heading_with_what_it_heads(item: str) -> None:
    """Keeps out: what is new in a list comes after the comment that heads the next part of the file."""
    text = f"name: a\nversion: 1.0.0\nschema: v1\nmodels:\n{item}\n# Rules\n# of mine\nrules:\n  - b # c\n"
    merged = merge(text, patch_of("continue"))
    assert [line for line in merged.splitlines() if "#" in line] == [line for line in text.splitlines() if "#" in line]
    before, heading, after = merged.partition("# Rules\n# of mine\nrules:\n")
    assert heading
    assert "apiBase: " in before
    assert after == "  - b # c\n"
    assert merge(merged, patch_of("continue")) == merged


def test_yaml_knows_its_model_again_and_keeps_what_was_added_to_it() -> None:
    text = (
        "name: a\nversion: 1.0.0\nschema: v1\nmodels:\n- name: gpt-oss-20b (local)\n  provider: openai\n  model: old\n"
        "  capabilities: [image_input]\n  roles: [chat]\n"
    )
    merged = merge(text, patch_of("continue"))
    (model,) = yaml(merged)["models"]
    assert model["model"] == "gpt-oss-20b"
    assert model["capabilities"] == ["image_input", "tool_use"]
    assert model["roles"] == ["chat"]
    assert "\n- name: gpt-oss-20b (local)\n" in merged, "lists stay where they stand"


@pytest.mark.parametrize(
    "text",
    ["models:\n", "models: []\n", "---\nname: a\n", "# nothing yet", "x: {a: [1, 2]}\ny: |\n  one\n   two\nz: yes\n"],
)
def test_yaml_of_any_layout(text: str) -> None:
    merged = merge(text, patch_of("continue"))
    before = yaml(text) or {}
    after = yaml(merged)
    assert [model["model"] for model in after["models"]] == ["gpt-oss-20b"]
    assert {key: after[key] for key in before if key != "models"} == {
        key: value for key, value in before.items() if key != "models"
    }
    assert merge(merged, patch_of("continue")) == merged
    assert text.partition("\n")[0].strip(" []") in merged


def test_yaml_keeps_a_file_that_is_all_comments() -> None:
    text = "##########\n# aider's own sample\n#model: xxx\n"
    merged = merge(text, patch_of("aider"))
    assert merged.startswith(text)
    assert yaml(merged)["model"] == "openai/gpt-oss-20b"


def test_a_list_of_models_gets_one_more() -> None:
    text = "# mine\n- model_id: a\n  model_name: b # c\n"
    merged = merge(text, patch_of("llm"))
    assert merged.startswith(text)
    assert [model["model_id"] for model in yaml(merged)] == ["a", "gpt-oss-20b"]


def test_json_keeps_order_indentation_and_letters() -> None:
    text = '{\n\t"theme": "größer",\n\t"env": {\n\t\t"A": "1"\n\t}\n}\n'
    merged = merge(text, patch_of("claude"))
    assert merged.startswith('{\n\t"theme": "größer",\n\t"env": {\n\t\t"A": "1",\n')
    assert json.loads(merged)["env"]["ANTHROPIC_BASE_URL"] == URL


def test_windows_line_ends_stay() -> None:
    for text, name in (('model = "x"\r\n', "codex"), ('{\r\n  "a": 1\r\n}\r\n', "claude"), ("a: 1\r\n", "aider")):
        merged = merge(text, patch_of(name))
        assert "\r\n" in merged
        assert "\n" not in merged.replace("\r\n", "")
        assert merge(merged, patch_of(name)) == merged


@pytest.mark.parametrize(
    "text",
    [
        '{\n  // mine\n  "a": 1\n}\n',
        '{"a": 1, /* b */ "c": "// no comment"}',
        '{"a": [1, 2,],}',
        '{"a": 1, // last\n}',
    ],
)
def test_json_with_comments_is_told_from_damaged_json(text: str) -> None:
    with pytest.raises(CannotMergeError, match="comments"):
        merge(text, patch_of("opencode"))


@pytest.mark.parametrize("text", ['{"a": 1', '{"a": "// x}', "{'a': 1}", "nonsense", '{"a": 1}}', "[" * 100_000])
def test_damaged_json_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError):
        merge(text, patch_of("claude"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("codex", "[a\n"),
        ("codex", "a = 1\na = 2\n"),
        ("continue", "a: [1\n"),
        ("continue", "a: 1\na: 2\n"),
        ("continue", "a: 1\n---\nb: 2\n"),
        ("aider", "a:\n\t- b\n"),
    ],
)
def test_damaged_toml_and_yaml_is_refused(name: str, text: str) -> None:
    with pytest.raises(UnreadableError):
        merge(text, patch_of(name))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("codex", 'model_providers = "none"\n', "'model_providers' is no table"),
        ("claude", '{"env": []}', "'env' is no table"),
        ("claude", "[]", "it is no table"),
        ("claude", '{"a": 1, "a": 2}', "twice"),
        ("continue", "models: {a: 1}\n", "'models' is no list"),
        ("llm", "a: 1\n", "it is no list"),
    ],
)
def test_what_holds_something_else_is_refused(name: str, text: str, why: str) -> None:
    with pytest.raises(CannotMergeError, match=why):
        merge(text, patch_of(name))


def test_true_is_not_one() -> None:
    file = ConfigFile(path="x", format="json")
    assert json.loads(merge('{"a": 1}', Patch(file=file, values={"a": True}))) == {"a": True}


_VALUES = st.recursive(
    st.integers(-9, 9) | st.booleans() | st.text("ab #'\"\\:-{[\n", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc- .#", min_size=1, max_size=4), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(table=st.dictionaries(st.text("abc- .#", min_size=1, max_size=4), _VALUES, max_size=4))
def test_whatever_else_a_file_holds_stays(table: dict[str, Any]) -> None:
    import tomlkit

    merged = json.loads(merge(json.dumps(table), patch_of("claude")))
    assert {key: value for key, value in merged.items() if key != "env"} == table
    text = tomlkit.dumps(table)
    merged = tomllib.loads(merge(text, patch_of("codex")))
    assert {key: value for key, value in merged.items() if key != "model_providers"} == tomllib.loads(text)
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.dump(table, stream)
    try:
        readable = yaml(stream.getvalue()) == table
    except YAMLError:  # not everything that ruamel writes can it read: `{a: :-}`
        readable = False
    assume(readable)
    merged = yaml(merge(stream.getvalue(), patch_of("aider")))
    assert {key: merged[key] for key in table} == table
