"""Limits of the control groups above this process: memory and CPU time, versions 1 and 2.

A limit binds at every level of the hierarchy, so the tightest one counts and it need not be the nearest. Sources: the
kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, man 7 cgroups, man 5 proc (mountinfo).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from launcher.hardware.seen import parse_int, read_text


@dataclass(frozen=True, kw_only=True, slots=True)
class CgroupLevel:
    """One control group with a memory limit."""

    limit_bytes: int
    used_bytes: int
    """What it uses and cannot give back: page cache (`inactive_file`, `active_file`) is left out."""
    source: str
    """The file that states the limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CgroupMount:
    """Where a hierarchy is mounted. `root` is the group that appears at the mount point."""

    controllers: frozenset[str]
    """Empty for version 2."""
    root: str
    mount_point: str


def parse_membership(text: str) -> dict[str, str]:
    """/proc/self/cgroup: controller to group; the unified hierarchy (version 2) is the key `""`."""
    groups = {}
    for line in text.splitlines():
        _, colon, rest = line.partition(":")
        controllers, second, path = rest.partition(":")
        if colon and second and path.startswith("/"):
            for controller in controllers.split(","):
                groups[controller] = path
    return groups


def parse_mounts(text: str) -> tuple[CgroupMount, ...]:
    """/proc/self/mountinfo: the mounted cgroup hierarchies, in order."""
    mounts = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        if not dash or len(fields) < 5 or len(tail) < 3 or tail[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset(tail[2].split(",")) - {"rw", "ro"} if tail[0] == "cgroup" else frozenset()
        mounts.append(CgroupMount(controllers=controllers, root=fields[3], mount_point=_unescape(fields[4])))
    return tuple(mounts)


def _unescape(text: str) -> str:
    # mountinfo writes blanks as octal (man 5 proc).
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def group_folders(root: Path, controller: str) -> tuple[int, tuple[Path, ...]] | None:
    """Version and folders of this process's groups for one controller, from its own up to the mount point.

    `root` is the file system's root. None where the machine has no cgroups or no such hierarchy.
    """
    groups = parse_membership(read_text(root / "proc/self/cgroup") or "")
    version = 1 if controller in groups else 2
    group = groups.get(controller if version == 1 else "")
    if group is None:
        return None
    for mount in parse_mounts(read_text(root / "proc/self/mountinfo") or ""):
        if mount.controllers == frozenset() if version == 2 else controller in mount.controllers:
            top = root / mount.mount_point.lstrip("/")
            relative = _below(group, mount.root)
            break
    else:
        top = root / "sys/fs/cgroup" / (controller if version == 1 else "")
        relative = _below(group, "/")
    folders = [top / part for part in (relative, *relative.parents)]
    return version, tuple(folder for folder in folders if folder.is_dir())


def _below(group: str, mounted: str) -> PurePosixPath:
    """Where a group lies under the mount; the mount point itself where it is not visible in this namespace."""
    path = PurePosixPath(group)
    if ".." in path.parts:
        return PurePosixPath()
    try:
        return path.relative_to(mounted)
    except ValueError:
        # A container's own group seen through a mount whose root says otherwise: the mount point is that group.
        return PurePosixPath()


def parse_stat(text: str) -> dict[str, int]:
    """memory.stat and its like: `name value` lines."""
    values = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        number = parse_int(value)
        if number is not None:
            values[name] = number
    return values


def reclaimable_bytes(stat: dict[str, int], version: int) -> int:
    """Page cache that the kernel drops before it refuses memory. Version 1 counts whole subtrees under `total_`."""
    prefix = "total_" if version == 1 and "total_inactive_file" in stat else ""
    return sum(max(0, stat.get(f"{prefix}{name}", 0)) for name in ("inactive_file", "active_file"))


def memory_levels(root: Path) -> tuple[CgroupLevel, ...]:
    """Every memory limit above this process, from its own group upwards. Limits may exceed the machine's RAM.

    Version 2: `memory.max` kills, `memory.high` throttles to a crawl; both bind. Version 1: `memory.limit_in_bytes`,
    and `hierarchical_memory_limit`, which also tells of groups above a container that cannot be seen from within.
    """
    found = group_folders(root, "memory")
    if found is None:
        return ()
    version, folders = found
    limit_files = ("memory.limit_in_bytes",) if version == 1 else ("memory.max", "memory.high")
    usage_file = "memory.usage_in_bytes" if version == 1 else "memory.current"
    levels = []
    for folder in folders:
        stat = parse_stat(read_text(folder / "memory.stat") or "")
        usage = parse_int(read_text(folder / usage_file)) or 0
        used = max(0, usage - reclaimable_bytes(stat, version))
        limits = {folder / name: parse_int(read_text(folder / name)) for name in limit_files}
        if version == 1:
            limits[folder / "memory.stat"] = stat.get("hierarchical_memory_limit")
        levels += [
            CgroupLevel(limit_bytes=limit, used_bytes=used, source="/" + file.relative_to(root).as_posix())
            for file, limit in limits.items()
            if limit is not None and limit > 0
        ]
    return tuple(levels)


def parse_cpu_max(text: str) -> float | None:
    """cpu.max: `200000 100000` is two cores; `max 100000` is no limit (None)."""
    fields = text.split()
    quota = parse_int(fields[0]) if fields else None
    period = parse_int(fields[1]) if len(fields) > 1 else 100_000
    return quota / period if quota and period and quota > 0 and period > 0 else None


def cpu_quota(root: Path) -> float | None:
    """The tightest CPU time limit above this process, in cores; None where there is none."""
    found = group_folders(root, "cpu")
    if found is None:
        return None
    version, folders = found
    quotas = []
    for folder in folders:
        if version == 2:
            text = read_text(folder / "cpu.max") or ""
        else:
            text = " ".join(read_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
        quotas.append(parse_cpu_max(text))
    return min((quota for quota in quotas if quota is not None), default=None)
