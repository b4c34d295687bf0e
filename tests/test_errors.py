"""The error tree: each kind ends the process with its own documented code and carries its data."""

from __future__ import annotations

import pytest

from launcher.errors import (
    DamagedFileError,
    DoesNotFitError,
    EngineError,
    ExitCode,
    LauncherError,
    NetworkError,
    UsageError,
)


def test_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "FAULT": 1,
        "USAGE": 2,
        "DOES_NOT_FIT": 3,
        "NETWORK": 4,
        "DAMAGED": 5,
        "ENGINE": 6,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LauncherError("m"), 1),
        (UsageError("m"), 2),
        (DoesNotFitError("m", needs_bytes=2, has_bytes=1), 3),
        (NetworkError("m"), 4),
        (DamagedFileError("m"), 5),
        (EngineError("m"), 6),
    ],
)
def test_each_error_has_its_code_and_one_line(error: LauncherError, code: int) -> None:
    assert error.code == code
    assert error.message == str(error) == "m"
    assert error.hint is None
    assert error.details == ()


def test_every_kind_of_error_has_a_code_of_its_own() -> None:
    kinds = [kind for kind in LauncherError.__subclasses__() if kind.__module__ == LauncherError.__module__]
    assert kinds
    codes = [LauncherError.code, *(kind.code for kind in kinds)]
    assert len(set(codes)) == len(codes)


def test_errors_carry_their_data() -> None:
    fit = DoesNotFitError("m", needs_bytes=20, has_bytes=10, hint="gpt-oss plan", details=("a", "b"))
    assert (fit.needs_bytes, fit.has_bytes, fit.hint, fit.details) == (20, 10, "gpt-oss plan", ("a", "b"))
    network = NetworkError("m", url="https://x", status=404)
    assert (network.url, network.status) == ("https://x", 404)
    assert DamagedFileError("m", path="/f").path == "/f"
    assert EngineError("m", log=("last",)).log == ("last",)
