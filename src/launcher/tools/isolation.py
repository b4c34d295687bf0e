"""What keeps code of a model in: which layers there are here, and what they were seen to close. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.tools.jail.job import Layer


@dataclass(frozen=True, kw_only=True, slots=True)
class Isolation:
    """What code of a model cannot reach, as tried out on this machine."""

    network: bool
    """Not even a listener on loopback answered."""
    files: bool
    """A file outside the code's own folder could not be opened."""
    processes: bool
    """It can neither see nor signal other processes, or start any."""
    memory: bool
    """Its memory is limited."""
    layers: tuple[Layer, ...] = ()
    """Those that could be closed."""
    seatbelt: bool = False
    """Whether macOS's sandbox-exec is around it."""
    missing: tuple[str, ...] = ()
    """A line for each layer that could not be closed, with the system's reason."""

    @property
    def is_safe(self) -> bool:
        """Whether code that nobody has read may run: it can read nothing of the user's, and tell nobody."""
        return self.network and self.files

    def describe(self) -> str:
        """One line for the user."""
        closed = [
            word
            for word, is_closed in (("network", self.network), ("files", self.files), ("processes", self.processes))
            if is_closed
        ]
        opened = [word for word in ("network", "files", "processes") if word not in closed]
        by = [*self.layers, *(["sandbox-exec"] if self.seatbelt else [])]
        text = f"python runs without your {_listed(closed)} ({', '.join(by)})" if closed else "python runs unprotected"
        return f"{text}; it can reach your {_listed(opened)}" if opened else text


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
