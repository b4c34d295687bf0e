"""Imports point inward, the pure rooms do no I/O, and a command loads only what it needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import launcher
from tests.cli.sandbox import TIMEOUT_S, Sandbox
from tests.fakes.hub import loopback_hub

SOURCE = Path(launcher.__file__).parent

PURE = (
    *("errors", "units", "records", "settings", "text"),
    *("planner", "hardware.types", "hardware.seen", "hardware.match", "hardware.packages"),
    *("catalogue.types", "catalogue.ggml_types", "catalogue.gguf", "catalogue.weights", "catalogue.recipes"),
    *("catalogue.repack", "catalogue.classify", "catalogue.request"),
    *("engines.types", "engines.params", "engines.prefix", "engines.harmony"),
    *("engines.client.site", "engines.client.sse", "engines.client.request", "engines.client.answer"),
    "engines.client.faults",
    *("chat.types", "chat.commands", "chat.conversation", "chat.reports", "chat.record"),
    *("engines.grammar", "engines.runs"),
    *(
        f"chat.screen.{name}"
        for name in (
            *("safe", "spans", "width", "wrap", "theme", "emphasis", "inline", "links", "code", "table", "containers"),
            *("blocks", "leaves", "markdown", "sections", "calls", "totals"),
        )
    ),
    *("chat.prompt.types", "chat.prompt.text", "chat.prompt.words", "chat.prompt.pastes", "chat.prompt.status"),
    *("history.types", "history.conversations", "history.words", "history.export", "history.page"),
    *("tools.types", "tools.request", "tools.mcp_config", "tools.mcp_types", "tools.mcp_text", "tools.text"),
    *("tools.python_code", "tools.isolation", "tools.seatbelt", "tools.jail.job", "tools.jail.syscalls"),
    *("clients.types", "clients.known", "clients.configs", "clients.merge", "clients.snippets", "clients.launches"),
    "clients.yaml_comments",
    *("store.pace", "system.shell"),
    *("bench.types", "bench.session", "bench.cases", "bench.formats", "bench.stats", "bench.rows", "bench.compare"),
    *("bench.quality_types", "bench.quality_stats", "bench.private", "bench.predictions"),
    *("bench.probe", "bench.private", "bench.chart", "bench.plot", "bench.plot_layout", "bench.plot_text"),
    *(f"tune.{name}" for name in ("types", "changes", "race", "sizes", "space", "budget")),
    *(f"doctor.{name}" for name in ("types", "scene", "remedies", "known", "examine", "report")),
    *(f"doctor.checks_{name}" for name in ("host", "gpu", "driver", "place")),
    *("server.types", "server.command", "server.metrics", "server.service"),
)
IMPURE = frozenset(
    {
        "subprocess",
        "os",
        "psutil",
        "llama_cpp",
        "huggingface_hub",
        "rich",
        "typer",
        "httpx",
        "ctypes",
        "socket",
        "shutil",
    }
)

BASE = frozenset({"errors", "units", "records", "configs", "text"})
"""What every room may use, besides the `types` of any."""
MAY_USE: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "units": frozenset(),
    "records": frozenset(),
    "configs": frozenset(),
    "text": frozenset(),
    "demo": frozenset(),
    "system": frozenset({"system"}),
    "paths": frozenset({"system"}),
    "settings": frozenset(),
    "settings_file": frozenset({"paths", "settings"}),
    "builds": frozenset({"builds", "demo", "engines", "hardware", "paths", "store", "system"}),
    "hardware": frozenset({"hardware", "paths", "system"}),
    "planner": frozenset({"planner"}),
    "store": frozenset({"store", "system"}),
    "catalogue": frozenset({"catalogue", "store"}),
    "engines": frozenset({"engines", "system"}),
    "chat": frozenset({"chat", "paths", "system"}),
    "tools": frozenset({"tools", "paths", "system"}),
    "history": frozenset({"history", "chat", "paths"}),
    "server": frozenset({"server", "engines", "hardware", "paths", "planner", "system"}),
    "clients": frozenset({"clients", "paths", "system"}),
    "bench": frozenset({"bench", "engines", "hardware", "paths", "system"}),
    "tune": frozenset({"tune", "bench", "hardware", "paths", "planner"}),
    "doctor": frozenset({"doctor", "bench", "builds", "engines", "hardware", "paths", "server", "store"}),
    "flow": frozenset({"flow", "builds", "catalogue", "hardware", "planner", "store"}),
}
"""Rooms that a room may import from. `cli` may use all; nobody may use `cli`."""


@dataclass(frozen=True)
class Import:
    """One import statement."""

    module: str
    """Without `launcher.` where it is ours."""
    ours: bool
    typing_only: bool
    line: int


def modules() -> dict[str, Path]:
    """Every module of the package by its name without `launcher.`; the package itself is the empty name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(path: Path) -> Iterator[Import]:
    """All imports of a module, those inside functions as well."""
    yield from _walk(ast.parse(path.read_text(encoding="utf-8")), typing_only=False)


def _walk(node: ast.AST, *, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield _import(alias.name, typing_only=typing_only, line=child.lineno)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                name = inner if inner.removeprefix("launcher.") in MODULES else str(child.module)
                yield _import(name, typing_only=typing_only, line=child.lineno)
        guarded = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        yield from _walk(child, typing_only=typing_only or guarded)


def _import(name: str, *, typing_only: bool, line: int) -> Import:
    ours = name == "launcher" or name.startswith("launcher.")
    return Import(module=name.removeprefix("launcher").lstrip("."), ours=ours, typing_only=typing_only, line=line)


def in_room(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def is_base(module: str) -> bool:
    return module in BASE or module.endswith(".types") or module == ""


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_does_no_io(room: str) -> None:
    members = [module for module in MODULES if in_room(module, room)]
    assert members, f"no module is called {room}"
    for module in members:
        for found in imports_of(MODULES[module]):
            if not found.ours and not found.typing_only:
                assert found.module.partition(".")[0] not in IMPURE, f"{module}, line {found.line}: {found.module}"
            if found.ours and not found.typing_only:
                pure = is_base(found.module) or any(in_room(found.module, other) for other in PURE)
                assert pure, f"{module}, line {found.line}: {found.module} is not pure"


@pytest.mark.parametrize("module", [name for name in MODULES if name and not in_room(name, "cli")])
def test_imports_point_inward(module: str) -> None:
    allowed = MAY_USE[module.partition(".")[0]]
    for found in imports_of(MODULES[module]):
        if found.ours:
            fine = is_base(found.module) or found.module.partition(".")[0] in allowed
            assert fine, f"{module}, line {found.line}: imports {found.module}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.endswith("types")])
def test_types_rest_on_types_alone(module: str) -> None:
    for found in imports_of(MODULES[module]):
        assert not found.ours or is_base(found.module), f"line {found.line}: {found.module}"


def test_the_walk_sees_imports_inside_functions_and_submodules() -> None:
    found = {(item.module, item.typing_only) for item in imports_of(SOURCE / "engines" / "llama.py")}
    assert ("llama_cpp", False) in found
    assert ("engines.params", False) in found
    assert ("httpx", True) in {
        (item.module, item.typing_only) for item in imports_of(SOURCE / "store" / "connection.py")
    }


# What a command brings in

PROGRAM = """
import sys
from launcher.cli.app import main
sys.argv = ["gpt-oss", *sys.argv[1:]]
try:
    main()
finally:
    print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
"""
HEAVY = frozenset({"llama_cpp", "huggingface_hub", "numpy", "httpx", "mcp", "pydantic", "prompt_toolkit"})


def loaded(sandbox: Sandbox, *words: str) -> set[str]:
    """Top-level modules in memory when a command ends."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env=sandbox.env, cwd=sandbox.root, capture_output=True, text=True, check=True, timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return {line.partition(".")[0] for line in done.stderr.splitlines()}


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    found = loaded(Sandbox(tmp_path), "--help")
    assert "typer" in found
    assert not found & (HEAVY | {"psutil", "jinja2"})


def test_a_warm_plan_loads_nothing_heavy(tmp_path: Path) -> None:
    from launcher.demo import demo_model_path

    repo = "ggml-org/gpt-oss-20b-GGUF"
    words = ("plan", "--json")  # the hub knows none of the other repositories, and is not asked for them again either
    with loopback_hub({repo: {"gpt-oss-20b-MXFP4.gguf": demo_model_path()}}) as hub:
        sandbox = Sandbox(tmp_path, hub.url)
        assert loaded(sandbox, *words) & HEAVY, "a cold one asks the hub"
        hub.requests.clear()
        assert not loaded(sandbox, *words) & HEAVY
        assert len(hub.requests) == 0
