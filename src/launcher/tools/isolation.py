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
        parts = (
            (self.network, "no network", "the network"),
            (self.files, "none of your files", "your files"),
            (self.processes, "no other processes", "other processes"),
        )
        closed = [no for is_closed, no, _ in parts if is_closed]
        opened = [name for is_closed, _, name in parts if not is_closed]
        by = ", ".join([*self.layers, *(["sandbox-exec"] if self.seatbelt else [])])
        text = f"python is closed in: {', '.join(closed)} ({by})" if closed else "python is not closed in"
        return f"{text}; it can reach {' and '.join(opened)}" if opened else text

    @property
    def forks(self) -> bool:
        """Whether code may start processes."""
        return "seccomp" not in self.layers and not self.seatbelt
