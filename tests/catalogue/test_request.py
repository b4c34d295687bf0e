from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.catalogue.request import AnyRelease, FromPath, FromRepo, parse_request, suggest, unknown_quant
from launcher.errors import UsageError


def nothing_exists(_path: Path) -> bool:
    return False


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("auto", AnyRelease()),
        ("AUTO", AnyRelease()),
        ("20b", AnyRelease(model="gpt-oss-20b")),
        ("gpt-oss-120B", AnyRelease(model="gpt-oss-120b")),
        ("ggml-org/gpt-oss-20b-GGUF", FromRepo(repo="ggml-org/gpt-oss-20b-GGUF", quant=None)),
        ("unsloth/gpt-oss-20b-GGUF:UD-Q4_K_XL", FromRepo(repo="unsloth/gpt-oss-20b-GGUF", quant="UD-Q4_K_XL")),
        ("some/where.gguf", FromPath(path=Path("some/where.gguf"))),
        ("/models/x", FromPath(path=Path("/models/x"))),
        ("./x", FromPath(path=Path("x"))),
        ("~/x.GGUF", FromPath(path=Path("~/x.GGUF").expanduser())),
    ],
)
def test_what_model_can_say(text: str, request_: AnyRelease | FromRepo | FromPath) -> None:
    assert parse_request(text, exists=nothing_exists) == request_


def test_a_file_that_exists_wins_over_a_repository_of_that_name() -> None:
    assert parse_request("owner/name", exists=lambda path: True) == FromPath(path=Path("owner/name"))


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("12b", "120b"),
        ("gpt-oss-20", "gpt-oss-20b"),
        ("atuo", "auto"),
        ("gpt-oss", "gpt-oss-"),
        ("qqqq", None),
        ("", None),
    ],
)
def test_an_unknown_model_suggests_the_nearest(text: str, near: str | None) -> None:
    with pytest.raises(UsageError, match="unknown model") as caught:
        parse_request(text, exists=nothing_exists)
    hint = caught.value.hint or ""
    assert hint.startswith("gpt-oss plan --model ")
    assert (near or "auto") in hint
    assert ("did you mean" in caught.value.message) == (near is not None)


@given(st.text(max_size=60))
def test_any_text_is_a_request_or_a_usage_error(text: str) -> None:
    try:
        parse_request(text, exists=nothing_exists)
    except UsageError as error:
        assert "\n" not in error.message  # noqa: PT017


def test_a_home_that_nobody_has_is_a_path_like_any_other() -> None:
    """`Path.expanduser` raises RuntimeError for it, which once came through."""
    assert parse_request("~nobody-of-that-name/x.gguf") == FromPath(path=Path("~nobody-of-that-name/x.gguf"))


def test_an_unknown_quant() -> None:
    error = unknown_quant("q4km", ["Q4_K_M", "F16"], of_model="a/b")
    assert error.hint == "gpt-oss plan --model a/b:Q4_K_M"
    assert error.details == ("there are: F16, Q4_K_M",)
    assert unknown_quant("q4km", ["Q4_K_M"], of_model="20b").hint == "gpt-oss plan --model 20b --quant Q4_K_M"
    assert unknown_quant("zzz", [], of_model="20b").hint == "gpt-oss plan --model 20b"


def test_suggest() -> None:
    assert suggest("q8", ["Q8_0", "F16"]) == "Q8_0"
    assert suggest("x", []) is None


@pytest.mark.parametrize(
    "text", ["C:\\models\\gpt-oss", "d:/models/gpt-oss", ".\\gpt-oss", "..\\gpt-oss", "\\\\nas\\models\\gpt-oss"]
)
def test_a_path_of_windows_is_one_there(text: str) -> None:
    nothing = {"exists": lambda _path: False}
    assert parse_request(text, system="win32", **nothing) == FromPath(path=Path(text))  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        parse_request(text, system="linux", **nothing)  # type: ignore[arg-type]


def test_a_drive_letter_is_no_quant_and_no_owner() -> None:
    for text in ("C:\\models\\gpt-oss-20b.gguf", "C:/models/gpt-oss-20b.gguf"):
        assert isinstance(parse_request(text, system="win32"), FromPath)
    found = parse_request("ggml-org/gpt-oss-20b-GGUF:Q8_0", system="win32", exists=lambda _path: False)
    assert found == FromRepo(repo="ggml-org/gpt-oss-20b-GGUF", quant="Q8_0")
