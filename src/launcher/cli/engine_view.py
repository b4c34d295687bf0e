"""Engines for a person."""

from __future__ import annotations

import re
import shlex
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.builds.disk import size_bytes
from launcher.builds.types import AUTO, Build, DamagedBuild, SelfTest, Source
from launcher.builds.unfinished import DOWNLOADS, Unfinished
from launcher.cli.columns import BOLD, DIM, Cell, Column, is_styled, table, terminal_width
from launcher.hardware.engine_devices import EngineDevice, parse_version
from launcher.text import printable
from launcher.units import format_bytes

_GREEN, _RED, _YELLOW = "\x1b[32m", "\x1b[31m", "\x1b[33m"
_LIBRARY = re.compile(r"(?:lib)?ggml-(cuda|vulkan|hip|metal|sycl)\.(?:so|dylib|dll)")
_BACKENDS = {"hip": "rocm"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """One line of the list."""

    name: str
    backend: str | None
    version: str | None
    """llama-cpp-python's."""
    commit: str | None
    """llama.cpp's; that of the environment's engine is known with its devices."""
    usable: bool
    """Whether plans may take it."""
    why_not: str | None
    """Why they may not."""
    elsewhere: str | None
    """The kind of machine that it was made for, where that is another."""
    self_test: SelfTest | None
    source: Source | None
    made_at: str | None
    site: str
    size_bytes: int
    devices: tuple[EngineDevice, ...] | None = None
    """What it can compute on besides the CPU; None where it was not asked, or did not answer."""
    note: str | None = None
    """Why it did not answer."""


def engine_of(build: Build) -> Engine:
    """What is known of a build without running it."""
    record = build.record
    if record is not None:
        return Engine(
            name=build.name,
            backend=record.backend,
            version=record.version,
            commit=record.commit,
            usable=build.usable,
            why_not=build.why_not,
            elsewhere=build.elsewhere,
            self_test=record.self_test,
            source=record.source,
            made_at=record.made_at,
            site=str(build.site),
            size_bytes=size_bytes(build.site.parent),
        )
    lib = build.package / "lib"
    found = [match for path in sorted(lib.glob("*ggml-*")) if (match := _LIBRARY.fullmatch(path.name))]
    init = build.package / "__init__.py"
    return Engine(
        name=build.name,
        backend=_BACKENDS.get(found[0][1], found[0][1]) if found else "cpu",
        version=parse_version(init.read_text(encoding="utf-8", errors="replace")),
        commit=None,
        usable=True,
        why_not=None,
        elsewhere=None,
        self_test=None,
        source=None,
        made_at=None,
        site=str(build.site),
        size_bytes=size_bytes(build.package),
    )


def _cell(text: str, style: str = "") -> Cell:
    return Cell(text=text, style=style)


def print_engines(
    engines: Sequence[Engine], damaged: Sequence[DamagedBuild], choice: str, left: Sequence[Unfinished]
) -> None:
    """A table on stdout, and below what there is to know of single ones."""
    asked = any(engine.devices is not None or engine.note for engine in engines)
    columns = [
        Column(name=""),
        Column(name="engine"),
        Column(name="backend", drop=1),
        Column(name="llama-cpp-python", drop=2),
        Column(name="llama.cpp", drop=4),
        Column(name="size", right=True, drop=3),
        Column(name="self-test", shrink_to=20),
        *([Column(name="devices", shrink_to=13)] if asked else []),
    ]
    rows = [_row(engine, choice, asked=asked) for engine in engines]
    for broken in damaged:
        empty = [_cell("-")] * (4 + asked)
        rows.append([_cell("*" if broken.name == choice else ""), _cell(broken.name), *empty[:4]])
        rows[-1] += [_cell("unknown", _YELLOW) if broken.newer else _cell("damaged", _RED), *empty[4:]]
    width = terminal_width(sys.stdout)
    lines = table(columns, rows, width, colours=is_styled(sys.stdout))
    lines += ["", *folded([*_below(engines, damaged, choice), *map(_begun, left)], width)]
    sys.stdout.write("\n".join(lines) + "\n")


def folded(lines: Sequence[str], width: int | None) -> list[str]:
    """Sentences no wider than a terminal, broken between words."""
    if width is None:
        return list(lines)
    return [part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False)]


def _row(engine: Engine, choice: str, *, asked: bool) -> list[Cell]:
    test = engine.self_test
    if engine.source is None:
        told = _cell("-", DIM)
    elif engine.elsewhere is not None:
        told = _cell("for another machine", _YELLOW)
    elif test is None:
        told = _cell("not made", _YELLOW)
    else:
        on = ", ".join(["CPU", *test.devices])
        told = _cell(f"passed on {on}", _GREEN) if test.passed else _cell("failed", _RED)
        if test.passed and not engine.usable:
            told = _cell("passed, then crashed", _RED)
    row = [
        _cell("*" if engine.name == choice else "", BOLD),
        _cell(engine.name, BOLD if engine.name == choice else ""),
        _cell(engine.backend or "-"),
        _cell(engine.version or "-"),
        _cell(engine.commit or "-"),
        _cell(format_bytes(engine.size_bytes)),
        told,
    ]
    if asked:
        names = [f"{device.name} ({device.description})" for device in engine.devices or ()]
        row.append(_cell(", ".join(names) or ("-" if engine.note else "the CPU alone")))
    return row


def _below(engines: Sequence[Engine], damaged: Sequence[DamagedBuild], choice: str) -> list[str]:
    lines = []
    for engine in engines:
        if engine.why_not is not None:
            lines.append(f"{engine.name} is not used: {printable(engine.why_not)}")
        if engine.note:
            lines.append(f"{engine.name}: {printable(engine.note)}")
    lines += [f"{broken.name} is not used: {printable(broken.what)}" for broken in damaged]
    lines += _next(engines, damaged)
    return [*lines, *_choice(engines, choice)]


def _next(engines: Sequence[Engine], damaged: Sequence[DamagedBuild]) -> list[str]:
    """The commands that help with engines that are not used."""
    test, remove = "gpt-oss engine test", "gpt-oss engine remove"
    here = [engine for engine in engines if engine.elsewhere is None and engine.source is not None]
    untested = [shlex.quote(engine.name) for engine in here if engine.self_test is None]
    failed = [shlex.quote(engine.name) for engine in here if engine.self_test is not None and not engine.usable]
    broken = [shlex.quote(each.name) for each in damaged if not each.newer]
    lines = [f"`{test} {' '.join(untested)}` tests what has not been"] if untested else []
    lines += [f"`{test} {name}` tries once more, `{remove} {name}` frees its room" for name in failed]
    return lines + [f"`{remove} {name}` frees its room" for name in broken]


def _begun(left: Unfinished) -> str:
    size = format_bytes(left.size_bytes)
    if left.name == DOWNLOADS and left.busy:
        return f"a ready-made engine is being downloaded ({size} so far)"
    if left.name == DOWNLOADS:
        go_on, remove = "gpt-oss engine install", f"gpt-oss engine remove {DOWNLOADS}"
        return f"a ready-made engine was begun to be downloaded ({size}): `{go_on}` goes on, `{remove}` frees its room"
    if left.busy:
        return f"{left.name} is being compiled ({size} so far)"
    go_on, remove = f"gpt-oss engine build {left.backend}", f"gpt-oss engine remove {shlex.quote(left.name)}"
    return f"{left.name} was begun ({size}): `{go_on}` with the same options goes on, `{remove}` frees its room"


def _choice(engines: Sequence[Engine], choice: str) -> list[str]:
    """Which engine plans take, as far as it is known without planning."""
    usable = [engine.name for engine in engines if engine.usable]
    if choice == AUTO:
        if len(usable) == 1:
            return [f"auto: plans take {usable[0]}, the only one that can be used"]
        return ["auto: a plan takes the engine with which it is best; `gpt-oss plan` names it"]
    if choice in usable:
        return [f"every plan takes {choice}; `gpt-oss engine use auto` lets it take the best"]
    why = "cannot be used" if any(engine.name == choice for engine in engines) else "is not there"
    return [f"{choice} was chosen, and {why}: plans take the best of the others. `gpt-oss engine use auto` forgets it"]
