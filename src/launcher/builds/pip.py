"""Get packages through pip, which knows the person's index, mirrors, proxies and certificates."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.builds.steps import Outcome, run_step
from launcher.builds.toolchain import pip_environment
from launcher.errors import DamagedFileError, LauncherError, NetworkError

_UNREACHED = ("NewConnectionError", "Max retries exceeded", "ConnectionError", "Read timed out", "Connection refused")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pip:
    """A pip to run. `command` is empty where there is none."""

    command: tuple[str, ...]
    log: Path
    environ: Mapping[str, str] | None = None

    def download(self, requirement: str, into: Path, *, sha256: str | None = None, source: bool = False) -> Path:
        """Download one package's file, verified where its hash is known beforehand; the file.

        Raises:
            NetworkError: the index does not answer, or has no such version.
            DamagedFileError: what came has another hash.
            LauncherError: there is no pip, or it failed otherwise.
        """
        into.mkdir(parents=True, exist_ok=True)
        name = requirement.partition("=")[0].partition("<")[0].partition(">")[0]
        kind = ("--no-binary", name) if source else ("--only-binary", ":all:")
        words = ["download", "--no-deps", *kind, "--dest", str(into)]
        before = set(into.iterdir())
        if sha256 is None:
            outcome = self._run([*words, requirement], into)
        else:
            # A hash can only be told in a file; with one, pip takes nothing that has another.
            needed = into / "requirements.txt"
            needed.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
            outcome = self._run([*words, "--requirement", str(needed)], into)
            needed.unlink()
        self._check(outcome, requirement)
        new = sorted(set(into.iterdir()) - before, key=lambda path: path.stat().st_mtime)
        if not new:
            raise LauncherError(f"pip downloaded nothing for {requirement}: see {self.log}", hint="gpt-oss doctor")
        return new[-1]

    def install(self, requirements: Sequence[str], into: Path) -> None:
        """Install packages into a folder of their own. Raises as `download` does."""
        words = ["install", "--target", str(into), "--upgrade", "--only-binary", ":all:", *requirements]
        into.parent.mkdir(parents=True, exist_ok=True)
        self._check(self._run(words, into.parent), " and ".join(requirements))

    def newest(self, package: str, cwd: Path) -> str:
        """The newest version on the person's index, pre-releases left out. Raises as `download` does."""
        outcome = self._run(["index", "versions", package], cwd)
        self._check(outcome, package)
        found = parse_newest("\n".join(outcome.lines), package)
        if found is None:
            raise LauncherError(f"pip does not tell the versions of {package}: see {self.log}", hint="gpt-oss doctor")
        return found

    def _run(self, words: Sequence[str], cwd: Path) -> Outcome:
        if not self.command:
            raise LauncherError("there is no pip, and no uv to run one", hint="gpt-oss doctor")
        env = pip_environment(os.environ if self.environ is None else self.environ)
        # A person's own settings for installing have no place here.
        env |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_NO_INPUT": "1", "PIP_PROGRESS_BAR": "off"}
        return run_step([*self.command, *words], cwd=cwd, log=self.log, environ=env)

    def _check(self, outcome: Outcome, what: str) -> None:
        if outcome.returncode == 0:
            return
        text = "\n".join(outcome.lines)
        log = (f"log: {self.log}",)
        if "DO NOT MATCH THE HASHES" in text:
            raise DamagedFileError(
                f"{what}: the index gave another file than the one that is expected (its sha256 differs)",
                hint="gpt-oss engine list",
                details=log,
            )
        errors = [line for line in outcome.lines if line.startswith(("ERROR:", "error:"))]
        last = (errors or [line for line in outcome.lines if line.strip()] or [f"exit status {outcome.returncode}"])[-1]
        if any(word in text for word in _UNREACHED):
            raise NetworkError(
                f"{what}: the package index does not answer", hint="gpt-oss doctor", details=(last, *log)
            )
        raise NetworkError(f"{what}: {last.partition(': ')[2] or last}", hint="gpt-oss doctor", details=log)


def parse_newest(text: str, package: str) -> str | None:
    """The version in pip's line `llama-cpp-python (0.3.36)`; None where there is no such line."""
    found = re.search(rf"^{re.escape(package)} \((\S+)\)$", text, re.MULTILINE)
    return found[1] if found else None
