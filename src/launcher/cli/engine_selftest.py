"""What `gpt-oss engine test` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from launcher.builds import store
from launcher.builds.reference import MEAN_KL
from launcher.builds.selftest import self_test
from launcher.builds.types import Build, SelfTest
from launcher.cli.columns import Cell, Column, is_styled, table, terminal_width
from launcher.cli.engine_session import refuse_unusable
from launcher.cli.engine_view import folded
from launcher.cli.output import print_json, say
from launcher.errors import ExitCode, LauncherError
from launcher.paths import folders
from launcher.records import to_jsonable
from launcher.text import printable

_GREEN, _RED = "\x1b[32m", "\x1b[31m"


def run_self_tests(names: Sequence[str], *, as_json: bool) -> None:
    """`gpt-oss engine test`: one after the other, since two on one GPU would be in each other's way.

    Raises:
        UsageError: one is called so by none.
        DamagedFileError: the folder of one is no build.
        EngineError: one is for another kind of machine.
        LauncherError: a result, which is shown, could not be kept.
        typer.Exit: one failed.
    """
    data = folders().data
    own = store.environment_build()
    builds = [store.find(data, name) for name in names] or [*([own] if own else []), *store.installed(data)[0]]
    results: list[tuple[Build, SelfTest]] = []
    not_kept: LauncherError | None = None
    for build in builds:
        if build.elsewhere is not None:
            if names:
                refuse_unusable(build)
            say(f"not testing {build.name}: {build.why_not}")
            continue
        say(f"testing {build.name}")
        result = self_test(build)
        results.append((build, result))
        if result.full and build.record is not None and build.usable:
            say(f"{build.name} passed before, and full memory says nothing of it: that result stands")
            continue
        try:
            store.keep_test(build, result)
        except LauncherError as error:
            not_kept = not_kept or error
    if as_json:
        print_json({"tests": [{"name": build.name, **to_jsonable(result)} for build, result in results]})
    else:
        print_results(results)
    if not_kept is not None:
        say("not every result could be kept: plans go by the one before")
        raise not_kept
    if not all(result.passed for _, result in results):
        raise typer.Exit(ExitCode.ENGINE)


def print_results(results: Sequence[tuple[Build, SelfTest]]) -> None:
    """A table on stdout, and below what there is to know of single ones."""
    columns = [
        Column(name="engine"),
        Column(name="self-test"),
        Column(name="computed on", shrink_to=12),
        Column(name=f"off by (bound {MEAN_KL:g})", right=True, drop=1),
        Column(name="same likeliest token", right=True, drop=2),
    ]
    rows = [[Cell(text=text, style=style) for text, style in _row(build, result)] for build, result in results]
    width = terminal_width(sys.stdout)
    lines = table(columns, rows, width, colours=is_styled(sys.stdout))
    sys.stdout.write("\n".join([*lines, *folded(_below(results), width)]) + "\n")


def _row(build: Build, result: SelfTest) -> list[tuple[str, str]]:
    computed = result.n_positions is not None
    return [
        (build.name, ""),
        ("passed", _GREEN) if result.passed else ("failed", _RED),
        (", ".join(["CPU", *result.devices]) if computed else "-", ""),
        (f"{result.mean_kl:.2g}" if result.mean_kl is not None else "-", ""),
        (f"{result.n_same_top} of {result.n_positions}" if computed else "-", ""),
    ]


def _below(results: Sequence[tuple[Build, SelfTest]]) -> list[str]:
    lines = []
    for build, result in results:
        if not result.passed:
            lines.append(f"{build.name}: {printable(result.why or '')}")
            continue
        if build.record is not None and build.record.backend != "cpu" and not result.devices:
            lines.append(f"{build.name}: it sees no GPU here: what it computes on one was not tested")
        if result.same_text is False:
            lines.append(f"{build.name}: it continues a text with another word, where two are nearly as likely")
    return lines
