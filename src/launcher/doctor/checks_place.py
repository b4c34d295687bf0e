"""Judgements on disk, folders, hub, port and clock. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

from launcher.doctor import remedies
from launcher.doctor.checks_host import SMALLEST_BYTES
from launcher.doctor.types import Check, Clock, Disk, DiskSpeed, Folder, Hub, Platform, Port, Status
from launcher.units import GIB, format_bytes, format_duration

TIGHT_BYTES = 2 * GIB
"""What should stay free beside a model: systems misbehave on a full disk."""
SLOW_BYTES_PER_S = 100e6
"""A hard disk's: the 20b then takes two minutes to load."""
_SLOW_SYSTEMS = frozenset({"9p", "drvfs", "fuseblk", "cifs", "smb3", "nfs", "nfs4", "fuse.sshfs"})
RELEASED = datetime(2026, 9, 1, tzinfo=UTC)
"""No release of the launcher is older: a clock before it is wrong, and TLS finds no certificate to be valid yet."""
SKEW_S = 300
"""Signed addresses of downloads, and tokens, stop to work when clocks differ by more than some minutes."""


def check_disk(disk: Disk, platform: Platform) -> tuple[Check, ...]:
    """Room for a model."""
    what = f"{format_bytes(disk.free_bytes)} free of {format_bytes(disk.total_bytes)}"
    models = f", {disk.n_models} GGUF {'file' if disk.n_models == 1 else 'files'} here" if disk.n_models else ""
    data = {
        "free_bytes": disk.free_bytes,
        "total_bytes": disk.total_bytes,
        "file_system": disk.file_system,
        "n_models": disk.n_models,
    }
    if disk.free_bytes >= SMALLEST_BYTES + TIGHT_BYTES or (disk.n_models and disk.free_bytes >= TIGHT_BYTES):
        return (Check(name="disk space", status="ok", what=what + models, data=data),)
    move = (
        "$env:HF_HOME='D:\\huggingface'; gpt-oss pull 20b"
        if platform.system == "Windows"
        else "HF_HOME=/folder/on/a/larger/disk gpt-oss pull 20b"
    )
    if disk.n_models:
        why, remedy = "a full disk stops downloads and more", "gpt-oss models prune"
    else:
        why, remedy = f"gpt-oss-20b, the smallest model, takes {format_bytes(SMALLEST_BYTES)}", move
    status: Status = "warn" if disk.n_models else "fail"
    return (
        Check(
            name="disk space",
            status=status,
            what=what + models,
            why=why,
            remedy=remedy,
            data=data,
        ),
    )


def check_speed(speed: DiskSpeed, disk: Disk | None) -> tuple[Check, ...]:
    """How long a model takes from the disk."""
    kind = disk.file_system if disk is not None else None
    data = {"read_bytes_per_s": speed.read_bytes_per_s, "read_of": speed.read_of, "cached": speed.cached}
    if speed.read_bytes_per_s is None:
        what = f"not measured: {speed.problem or 'nothing could be read'}"
        return (Check(name="disk speed", status="warn", what=what, data=data),)
    load_s = SMALLEST_BYTES / speed.read_bytes_per_s
    rate = f"{speed.read_bytes_per_s / 1e6:.0f} MB/s"
    cached = ", perhaps from memory" if speed.cached else ""
    what = f"reads {rate} ({speed.read_of}{cached}): gpt-oss-20b in {format_duration(load_s)}"
    if speed.read_bytes_per_s >= SLOW_BYTES_PER_S:
        return (Check(name="disk speed", status="ok", what=what, data=data),)
    why = "loading takes long, and weights that don't fit into RAM can't be read for every token"
    if kind in _SLOW_SYSTEMS:
        why = f"the folder is on {kind}, a file system of another machine or of Windows; {why}"
    return (
        Check(
            name="disk speed",
            status="warn",
            what=what,
            why=why,
            remedy="HF_HOME=/folder/on/a/faster/disk gpt-oss pull 20b",
            data=data,
        ),
    )


def check_folders(found: Sequence[Folder], platform: Platform) -> tuple[Check, ...]:
    """Whether everything that is written can be, and nothing private is open to all."""
    checks = []
    for folder in found:
        data = {"role": folder.role, "exists": folder.exists, "writable": folder.writable}
        path = shlex.quote(str(folder.foreign or folder.path))
        own = remedies.as_root(f'chown -R "$USER" {shlex.quote(str(folder.path))}', platform)
        if platform.system == "Windows":
            own = f'icacls "{folder.path}" /grant "${{env:USERNAME}}:(OI)(CI)F" /T'
        if not folder.writable:
            what = f"the {folder.role} folder can't be written: {folder.path}"
            shared = f"the {folder.role} folder can't be written"
            checks.append(Check(name="folders", status="fail", what=what, remedy=own, data=data, shared=shared))
        elif folder.foreign is not None:
            what = f"something in the {folder.role} folder belongs to somebody else: {path}"
            why = "a run with sudo leaves such things behind; later ones fail in the middle"
            shared = f"something in the {folder.role} folder belongs to somebody else"
            checks.append(
                Check(name="folders", status="fail", what=what, why=why, remedy=own, data=data, shared=shared)
            )
        if folder.exposed is not None:
            what = f"everybody on this machine may read {folder.exposed}"
            remedy = f"chmod 600 {shlex.quote(str(folder.exposed))}"
            shared = f"everybody may read {folder.exposed.name}"
            checks.append(Check(name="folders", status="warn", what=what, remedy=remedy, data=data, shared=shared))
    if checks:
        return tuple(checks)
    roles = ", ".join(folder.role for folder in found)
    what = f"{roles}: all can be written"
    return (Check(name="folders", status="ok", what=what, data={"roles": [folder.role for folder in found]}),)


def check_hub(hub: Hub, disk: Disk | None) -> tuple[Check, ...]:
    """Whether the hub can be reached, and how it takes the token."""
    data = {"is_default": hub.is_default, "offline": hub.offline_by is not None, "token": hub.token_from is not None}
    token = _token(hub)
    unnamed = "a hub of its own" if not hub.is_default else None
    if hub.problem is not None and hub.token_accepted is not False:
        here = disk is not None and disk.n_models > 0
        why = "what is on this disk runs without it" if here else "no model is on this disk yet: only the demo runs"
        status: Status = "warn" if here else "fail"
        return (
            Check(
                name="hub",
                status=status,
                what=hub.problem,
                why=why,
                remedy=hub.hint,
                data=data,
                shared=unnamed and f"{unnamed} can't be used",
            ),
            *token,
        )
    what = f"not asked ({hub.offline_by})" if hub.offline_by is not None else f"{hub.host} answers"
    shared = unnamed and (f"{unnamed}, not asked" if hub.offline_by is not None else f"{unnamed} answers")
    return (Check(name="hub", status="ok", what=what, data=data, shared=shared), *token)


def _token(hub: Hub) -> tuple[Check, ...]:
    data = {"present": hub.token_from is not None, "from": hub.token_from, "accepted": hub.token_accepted}
    if hub.token_from is None:
        what = "none: public models need none"
        return (Check(name="token", status="ok", what=what, data=data),)
    if hub.token_accepted is False:
        what = f"the hub does not accept the token of {hub.token_from}"
        why = "it refuses public models as well then"
        remedy = "unset HF_TOKEN" if hub.token_from == "HF_TOKEN" else "hf auth login"  # noqa: S105  # a name
        return (Check(name="token", status="fail", what=what, why=why, remedy=remedy, data=data),)
    accepted = ", accepted" if hub.token_accepted else ", not tried"
    return (Check(name="token", status="ok", what=f"of {hub.token_from}{accepted}", data=data),)


def check_port(port: Port) -> tuple[Check, ...]:
    """Whether `gpt-oss serve` finds its port."""
    where = f"{port.host}:{port.port}"
    data = {"port": port.port, "free": port.free, "own": port.model is not None}

    def check(status: Status, says: str, shared: str, why: str | None = None, remedy: str | None = None) -> Check:
        what, public = f"{where}{says}", f"port {port.port}{shared}"
        return Check(name="port", status=status, what=what, why=why, remedy=remedy, data=data, shared=public)

    if port.model is not None:
        return (check("ok", f": your server with {port.model}", ": an own server"),)
    if port.problem is not None:
        plain = "gpt-oss serve --host 127.0.0.1 --port 8080"
        return (check("warn", f": {port.problem}", " can't be listened on", remedy=plain),)
    if port.free:
        return (check("ok", " is free for gpt-oss serve", " is free"),)
    remedy = f"gpt-oss serve --port {port.next_free}" if port.next_free is not None else None
    why = "gpt-oss serve would not start there"
    return (check("warn", f" is taken by {port.holder or 'another program'}", " is taken", why, remedy),)


def check_clock(clock: Clock, hub: Hub | None, platform: Platform) -> tuple[Check, ...]:
    """Whether the clock is right enough for TLS."""
    now = datetime.fromtimestamp(clock.now_s, tz=UTC)
    skew_s = hub.skew_s if hub is not None else None
    data = {"now": now.isoformat(timespec="seconds"), "skew_s": None if skew_s is None else round(skew_s)}
    if now < RELEASED:
        what = f"the clock says {now:%Y-%m-%d}, before this launcher was made"
        why = "no certificate is valid yet: every connection is refused"
        return (Check(name="clock", status="fail", what=what, why=why, remedy=_set_clock(platform), data=data),)
    if skew_s is not None and abs(skew_s) > SKEW_S:
        what = f"the clock is {format_duration(abs(skew_s))} {'behind' if skew_s > 0 else 'ahead of'} the hub's"
        why = "signed addresses of downloads are refused"
        return (Check(name="clock", status="warn", what=what, why=why, remedy=_set_clock(platform), data=data),)
    beside = "" if skew_s is None else f", {abs(skew_s):.0f} s from the hub's"
    return (Check(name="clock", status="ok", what=f"{now:%Y-%m-%d %H:%M} UTC{beside}", data=data),)


def _set_clock(platform: Platform) -> str | None:
    if platform.wsl:
        return remedies.as_root("hwclock -s", platform)
    if platform.container is not None:
        return None
    if platform.system == "Windows":
        return "w32tm /resync"
    return remedies.as_root(
        "sntp -sS time.apple.com" if platform.system == "Darwin" else "timedatectl set-ntp true", platform
    )
