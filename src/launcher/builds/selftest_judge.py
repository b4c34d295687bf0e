"""From what the self-test's child said, and how it ended, to a verdict in one sentence. Pure."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.builds.commit import commit_of, same_commit
from launcher.builds.reference import DRIFT, MAX_KL, MEAN_KL, Difference, Reference
from launcher.builds.types import Build
from launcher.hardware.engine_devices import parse_commit
from launcher.records import RecordError, from_jsonable

_SHOWN = 200
"""Letters of what a library said."""
_WINDOWS = {0xC0000005: "an access violation", 0xC0000374: "a corrupted heap", 0xC0000409: "an abort"}
"""NTSTATUS values that a crash ends with."""
_ILLEGAL = 0xC000001D
_FULL = re.compile(r"out of memory|alloc", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One way to compute, on one device."""

    name: str
    device: str | None
    """None: the CPU."""
    found: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What the child said, in the order in which it said it."""

    doing: str | None = None
    """The last thing that it set out to do."""
    about: dict[str, Any] = field(default_factory=dict)
    """`package`, `version`, `commit`, `devices`, `defaults`."""
    cases: tuple[Case, ...] = ()
    texts: tuple[tuple[int, ...], ...] = ()
    """Tokens that it continued a text with, on each device."""
    refused: str | None = None
    done: bool = False


def heard(output: str, mark: str) -> Heard:
    """The child's own lines among whatever drivers printed; what cannot be read is left out."""
    doing, about, cases, texts, refused, done = None, {}, [], [], None, False
    for line in output.splitlines():
        if not line.startswith(mark):
            continue
        try:
            table = json.loads(line.removeprefix(mark))
            doing = table.get("doing", doing)
            refused = table.get("refused", refused)
            done = done or "done" in table
            if "package" in table:
                about = table
            if "case" in table:
                found = from_jsonable(Difference, table["found"])
                cases.append(Case(name=table["case"], device=table["device"], found=found))
            if "continued" in table:
                texts.append(tuple(table["continued"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecordError):  # a killed child's half line
            continue
    return Heard(doing=doing, about=about, cases=tuple(cases), texts=tuple(texts), refused=refused, done=done)


def fault(said: Heard, status: int | None, stderr: str, build: Build, reference: Reference) -> str | None:
    """What is wrong, in one sentence without its subject's name; None where nothing is.

    Args:
        said: by the child.
        status: its exit status; None where it was ended for taking too long.
        stderr: what it, its libraries and drivers complained of.
        build: the one that was tested.
        reference: what it should have computed.
    """
    return _mistaken(said, build, reference) or _wrong(said) or _ended(said, status, stderr)


def is_full(said: Heard, status: int | None, stderr: str, build: Build, reference: Reference) -> bool:
    """Whether it failed for want of memory alone. As `fault` does it takes the child's words and end."""
    if _mistaken(said, build, reference) or _wrong(said):
        return False
    if said.refused is not None:
        return _FULL.search(said.refused) is not None
    return status is not None and _crash(status) is not None and "out of memory" in stderr.lower()


def _mistaken(said: Heard, build: Build, reference: Reference) -> str | None:
    """Another build than the one that it should be."""
    about, record = said.about, build.record
    if not about:
        return None
    if str(about["package"]) != str(build.package):
        return f"another llama_cpp was loaded in its place, {about['package']}"
    if record is not None and about["version"] != record.version:
        return f"it is llama-cpp-python {about['version']}; its record says {record.version}"
    commit = parse_commit(about["commit"])
    if record is not None and record.commit and commit and not same_commit(commit, record.commit):
        return f"its library is of llama.cpp {commit}; its record says {record.commit}"
    if about["version"] == reference.version:
        off = [name for name, value in reference.defaults.items() if about["defaults"].get(name) != value]
        if off:
            struct, _, name = off[0].partition(".")
            return f"its bindings and its library are not of one version: they disagree on {struct} (at {name})"
    return None


def _wrong(said: Heard) -> str | None:
    """The worst of what it computed, where that is past the bounds."""
    unsound = [case for case in said.cases if not case.found.sound]
    if not unsound:
        return None
    worst = max(unsound, key=lambda case: case.found.mean_kl if case.found.mean_kl is not None else float("inf"))
    found, where = worst.found, f"on {worst.device or 'the CPU'} ({worst.name})"
    if found.mean_kl is None or found.max_kl is None or found.drift is None:
        return f"it computes values that are no numbers {where}"
    if found.mean_kl < MEAN_KL and found.max_kl < MAX_KL:
        return f"it computes wrongly {where}: predictions are {found.drift:.2g} nats off to one side, over {DRIFT:g}"
    off, bound = (found.mean_kl, MEAN_KL) if found.mean_kl >= MEAN_KL else (found.max_kl, MAX_KL)
    return f"it computes wrongly {where}: predictions are {off:.2g} nats off, over {bound:g}"


def _ended(said: Heard, status: int | None, stderr: str) -> str | None:
    doing = said.doing or "starting"
    told = _last_line(stderr)
    if said.refused is not None:
        full = "; other programs may hold its memory" if _FULL.search(said.refused) else ""
        return f"{said.refused} ({doing}){full}"
    if status is None:
        return f"it hung while {doing}"
    if status in {-signal.SIGILL, _ILLEGAL, _ILLEGAL - 2**32}:
        return f"it was compiled for another CPU: it met an instruction that this one does not have while {doing}"
    crash = _crash(status)
    if crash is not None:
        complaint = _complaint(stderr, crash)
        return f"it crashed while {doing} ({crash}){f': {complaint[:_SHOWN]}' if complaint else ''}"
    if status != 0:
        return (
            _not_loaded(told) if not said.about else f"it failed while {doing}: {told[:_SHOWN] or f'status {status}'}"
        )
    return None if said.done else f"it stopped while {doing}"


def _crash(status: int) -> str | None:
    if status < 0 and -status in set(signal.Signals):
        return signal.Signals(-status).name
    return _WINDOWS.get(status % 2**32)


def _last_line(stderr: str) -> str:
    """Where Python says what it raised."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _complaint(stderr: str, crash: str) -> str:
    """The cause of a crash: what comes after it passes it on, or is a backtrace."""
    telling = [line.strip() for line in stderr.splitlines() if "GGML_ASSERT" in line or "error" in line.lower()]
    if telling or crash == "SIGSEGV":  # nobody could say anything: the last line is about something else
        return telling[0] if telling else ""
    return _last_line(stderr)


def _not_loaded(told: str) -> str:
    """Why its package could not be imported, from the last line of Python's."""
    missing = re.search(r"([^\s:'\"]+): cannot open shared object file", told)
    if missing:
        return f"a library that it needs is missing: {missing[1]}"
    symbol = re.search(r"undefined symbol: (\w+)", told) or re.search(r"dlsym\(.*?, (\w+)\)", told)
    if symbol is None:
        symbol = re.search(r"function '(\w+)' not found", told)
    if symbol:
        return f"its library lacks {symbol[1]}, which belongs to another version"
    newer = re.search(r"version [`'](\w+_[\d.]+)' not found", told)
    if newer:
        return f"it needs {newer[1]}, which is newer than this system's"
    broken = re.search(r"([^\s/'\":]+\.(?:so[\d.]*|dylib|dll)): (.+)$", told)
    if broken:
        return f"a library of it cannot be loaded: {broken[1]} ({broken[2][:_SHOWN]})"
    return f"its libraries cannot be loaded: {told[-_SHOWN:] or 'no reason was given'}"


def program_fault(status: int | None, text: str, build: Build | None = None) -> str | None:
    """What is wrong with a build's llama-server, from `--version`; None where nothing is.

    Args:
        status: its exit status; None where it was ended for taking too long.
        text: all that it said.
        build: whose it is, where its record tells a commit.
    """
    if status is None:
        return "its llama-server hangs"
    if status != 0:
        crash = _crash(status)
        why = f"it crashed ({crash})" if crash is not None else _not_loaded(_last_line(text))
        return f"its llama-server does not start: {why}"
    recorded = build.record.commit if build is not None and build.record is not None else None
    commit = commit_of(text)
    if recorded and commit and not same_commit(commit, recorded):
        return f"its llama-server is of llama.cpp {commit}; its record says {recorded}"
    return None


def devices_of(said: Heard) -> tuple[str, ...]:
    """Devices on which something was computed, in order."""
    return tuple(dict.fromkeys(case.device for case in said.cases if case.device is not None))


def worst(values: Sequence[float | None]) -> float | None:
    """The largest that is known; None where none is."""
    known = [value for value in values if value is not None]
    return max(known) if known else None
