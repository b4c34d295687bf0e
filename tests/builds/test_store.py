"""The store: nothing half made has a name, and nothing in use goes."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from launcher.builds import disk, store
from launcher.builds.record import SITE
from launcher.builds.types import AUTO, Build
from launcher.builds.users import User, users_of
from launcher.errors import DamagedFileError, EngineError, LauncherError, UsageError
from tests.builds.copies import FAILED, record
from tests.cli.sandbox import assert_runnable
from tests.systems import LINUX, POSIX


def fill(staging: Path, text: str = "one") -> Path:
    package = staging / SITE / "llama_cpp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(text)
    return staging


def make(data: Path, name: str = "cpu-1", text: str = "one") -> Build:
    with store.staged(data, name) as staging:
        return store.add(fill(staging, text), record(name), users=lambda _: ())


def names(data: Path) -> list[str]:
    return [build.name for build in store.installed(data)[0]]


def left(data: Path) -> list[str]:
    """Folders that are no builds."""
    return sorted(path.name for path in store.engines_dir(data).iterdir() if path.is_dir() and path.name[0] == ".")


def test_a_build_is_there_when_it_is_complete(tmp_path: Path) -> None:
    with store.staged(tmp_path, "cpu-1") as staging:
        assert staging.parent == store.engines_dir(tmp_path)
        assert names(tmp_path) == []
        build = store.add(fill(staging), record("cpu-1"))
    assert (build.name, build.usable) == ("cpu-1", True)
    assert build == store.find(tmp_path, "cpu-1")
    assert names(tmp_path) == ["cpu-1"]
    assert left(tmp_path) == []
    assert json.loads((build.site.parent / "engine.json").read_text())["schema"] == 1


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with store.staged(tmp_path, "cpu-1") as staging:
            fill(staging)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (names(tmp_path), left(tmp_path)) == ([], [])
    with pytest.raises(LauncherError, match="no llama_cpp"), store.staged(tmp_path, "cpu-1") as staging:
        store.add(staging, record("cpu-1"))
    assert (names(tmp_path), left(tmp_path)) == ([], [])


def test_a_folder_is_for_one_name(tmp_path: Path) -> None:
    def add_other() -> None:
        with store.staged(tmp_path, "cpu-1") as staging:
            store.add(fill(staging), record("cpu-2"))

    with pytest.raises(ValueError, match="is not for cpu-2"):
        add_other()


@pytest.mark.parametrize("name", ["environment", "auto", "", "../up", ".hidden", "a/b", "UPPER", "use.json"])
def test_names_that_no_build_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no engine can be called"), store.staged(tmp_path, name):
        pass


def test_an_older_build_is_replaced(tmp_path: Path) -> None:
    make(tmp_path, text="old")
    build = make(tmp_path, text="new")
    assert (build.package / "__init__.py").read_text() == "new"
    assert (names(tmp_path), left(tmp_path)) == (["cpu-1"], [])


def test_a_build_in_use_is_not_replaced_nor_removed(tmp_path: Path) -> None:
    make(tmp_path, text="old")

    def used(folder: Path) -> tuple[User, ...]:
        assert folder == store.engines_dir(tmp_path) / "cpu-1"
        return (User(pid=7, name="llama-server"), User(pid=8, name=None))

    with (
        pytest.raises(UsageError, match=r"in use by llama-server \(pid 7\), a process \(pid 8\): it cannot") as caught,
        store.staged(tmp_path, "cpu-1") as staging,
    ):
        store.add(fill(staging, "new"), record("cpu-1"), users=used)
    assert caught.value.hint == store.show_processes(["7", "8"])
    with pytest.raises(UsageError, match="cannot be replaced"), store.staged(tmp_path, "cpu-1", users=used):
        pytest.fail("nothing is put into it")
    with pytest.raises(UsageError, match="cannot be removed now"):
        store.remove(tmp_path, "cpu-1", users=used)
    assert (store.find(tmp_path, "cpu-1").package / "__init__.py").read_text() == "old"
    assert left(tmp_path) == []


@pytest.mark.parametrize(("system", "command"), [("linux", "ps -fp 7,8"), ("win32", 'tasklist /fi "pid eq 7"')])
def test_who_uses_it_can_be_looked_up(system: str, command: str) -> None:
    """The bug: `gpt-oss ps` was named, which shows servers alone."""
    assert store.show_processes(["7", "8"], system=system) == command
    assert_runnable(command)


def test_a_build_of_another_kind_of_machine_is_not_replaced(tmp_path: Path) -> None:
    """The bug: in a shared home folder each machine took the other's engine away."""
    path = make(tmp_path, text="theirs").site.parent / "engine.json"
    path.write_text(path.read_text().replace(f'"arch": "{platform.machine()}"', '"arch": "s390x"'))
    with pytest.raises(UsageError, match=r"cpu-1 is here for \w+ on s390x") as caught, store.staged(tmp_path, "cpu-1"):
        pytest.fail("nothing is put into it")
    assert_runnable(str(caught.value.hint))
    assert_runnable(caught.value.details[-1].partition(": ")[2])
    assert "theirs" in (store.find(tmp_path, "cpu-1").package / "__init__.py").read_text()
    store.remove(tmp_path, "cpu-1")
    make(tmp_path, text="ours")


def test_the_environments_own_has_no_record_to_keep_a_test_in(tmp_path: Path) -> None:
    own = store.find(tmp_path, "environment")
    assert store.keep_test(own, FAILED) == own
    assert own.usable


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 7}', '{"name": ""}'])
def test_a_choice_that_is_damaged_is_none(tmp_path: Path, text: str) -> None:
    store.choose(tmp_path, "cpu-1")
    (store.engines_dir(tmp_path) / "use.json").write_text(text)
    assert store.chosen(tmp_path) == AUTO


def test_two_at_once(tmp_path: Path) -> None:
    with store.staged(tmp_path, "cpu-1") as staging:
        with (
            pytest.raises(UsageError, match="another process is making or removing cpu-1"),
            store.staged(tmp_path, "cpu-1"),
        ):
            pass
        assert staging.is_dir(), "cleaning up takes nothing that is being filled"
        make(tmp_path, "cpu-2")
        store.add(fill(staging), record("cpu-1"))
    assert names(tmp_path) == ["cpu-1", "cpu-2"]


def test_what_a_killed_process_left_is_cleaned(tmp_path: Path) -> None:
    make(tmp_path)
    folder = store.engines_dir(tmp_path)
    for name in (".cuda-0.3.36.abc_1.filling", ".cpu-1.replaced", ".cpu-0.removed"):
        fill(folder / name)
    (folder / ".of-somebody-else").mkdir()
    assert store.clean(tmp_path) == 9
    assert (names(tmp_path), left(tmp_path)) == (["cpu-1"], [".of-somebody-else"])


def test_killed_between_two_names_the_older_build_comes_back(tmp_path: Path) -> None:
    make(tmp_path)
    folder = store.engines_dir(tmp_path)
    (folder / "cpu-1").rename(folder / ".cpu-1.replaced")
    with store.staged(tmp_path, "cpu-2"):
        pass
    assert names(tmp_path) == ["cpu-1"]


def test_removing_frees_and_takes_the_choice_back(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, "cpu-2")
    store.choose(tmp_path, "cpu-1")
    assert store.remove(tmp_path, "cpu-2") > 3
    assert store.chosen(tmp_path) == "cpu-1"
    store.remove(tmp_path, "cpu-1")
    assert store.chosen(tmp_path) == AUTO
    assert (names(tmp_path), left(tmp_path)) == ([], [])


def test_a_damaged_build_can_be_removed(tmp_path: Path) -> None:
    build = make(tmp_path)
    (build.site.parent / "engine.json").write_text("{")
    with pytest.raises(DamagedFileError, match="cpu-1 is damaged"):
        store.find(tmp_path, "cpu-1")
    store.remove(tmp_path, "cpu-1")
    assert store.installed(tmp_path) == ((), ())


def test_what_a_newer_launcher_made_is_neither_used_nor_called_damaged(tmp_path: Path) -> None:
    path = make(tmp_path).site.parent / "engine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2, "new": 1}))
    ((), (newer,)) = store.installed(tmp_path)
    assert (newer.newer, newer.what) == (True, "a newer launcher made it, and this one cannot read it")
    with pytest.raises(EngineError, match="cpu-1 cannot be used: a newer launcher made it") as caught:
        store.find(tmp_path, "cpu-1")
    assert caught.value.hint == "gpt-oss engine list", "a sound engine is not to be removed"
    store.remove(tmp_path, "cpu-1")
    assert store.installed(tmp_path) == ((), ())


@pytest.mark.parametrize("changes", [{"arch": "riscv64"}, {"system": "Plan9"}])
def test_a_build_for_another_kind_of_machine(tmp_path: Path, changes: dict[str, str]) -> None:
    """A home folder that machines share."""
    assert make(tmp_path).why_not is None
    path = store.engines_dir(tmp_path) / "cpu-1" / "engine.json"
    table = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(table))
    build = store.find(tmp_path, "cpu-1")
    assert not build.usable
    assert build.why_not == f"it was made for another kind of machine, {table['system']} on {table['arch']}"


@POSIX
def test_a_build_that_is_a_link_to_one_elsewhere(tmp_path: Path) -> None:
    """The link goes, and what it leads to stays."""
    elsewhere = make(tmp_path / "other", "cpu-1").site.parent
    make(tmp_path, "cpu-2")
    folder = store.engines_dir(tmp_path)
    for name in ("cpu-1", ".cpu-3.removed"):
        (folder / name).symlink_to(elsewhere)
    assert names(tmp_path) == ["cpu-1", "cpu-2"]
    store.remove(tmp_path, "cpu-1")
    assert (names(tmp_path), left(tmp_path)) == (["cpu-2"], [])
    assert (elsewhere / "engine.json").is_file()


def test_removing_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To give room back is what one does there: nothing may have to be written for it."""
    make(tmp_path)
    store.choose(tmp_path, "cpu-1")

    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(store, "write_atomic", full)
    store.remove(tmp_path, "cpu-1")
    assert (names(tmp_path), left(tmp_path), store.chosen(tmp_path)) == ([], [], AUTO)


def test_where_the_disk_has_no_locks_nothing_is_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells a folder that somebody fills from one that was left behind."""

    def unknown(self: FileLock) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "_acquire", unknown)
    with store.staged(tmp_path, "cpu-1") as staging:
        fill(staging)
        assert store.clean(tmp_path) == 0
        store.add(staging, record("cpu-1"), users=lambda _: ())
    assert names(tmp_path) == ["cpu-1"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cuda-0.3.35", "no engine is called cuda-0.3.35; did you mean cuda-0.3.36?"),
        ("nothing-like-it", "no engine is called nothing-like-it"),
        ("../engines/cuda-0.3.36", "no engine is called ../engines/cuda-0.3.36"),
    ],
)
def test_names_that_are_not_there(tmp_path: Path, name: str, told: str) -> None:
    make(tmp_path, "cuda-0.3.36")
    for act in (store.find, store.remove):
        with pytest.raises(UsageError) as caught:
            act(tmp_path, name)
        assert caught.value.message.startswith(told)


def test_the_environments_is_not_removed(tmp_path: Path) -> None:
    assert store.find(tmp_path, "environment").record is None
    with pytest.raises(UsageError, match="belongs to the launcher"):
        store.remove(tmp_path, "environment")


def test_a_test_of_a_build_that_is_gone_brings_nothing_back(tmp_path: Path) -> None:
    build = make(tmp_path)
    store.remove(tmp_path, "cpu-1")
    with pytest.raises(UsageError, match="removed meanwhile"):
        store.keep_test(build, FAILED)
    assert store.installed(tmp_path) == ((), ())


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file")
    with pytest.raises(LauncherError) as caught, store.staged(tmp_path, "cpu-1"):
        pass
    assert str(tmp_path / "engines") in caught.value.message
    with pytest.raises(LauncherError):
        store.choose(tmp_path, "cpu-1")


def test_files_with_several_names_count_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100)
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "three").write_bytes(b"x" * 10)
    assert disk.size_bytes(tmp_path) == 110


# Who uses a folder


@LINUX
def test_this_process_uses_its_own_libraries(tmp_path: Path) -> None:
    import _ctypes

    (own,) = [user for user in users_of(Path(_ctypes.__file__).parent) if user.pid == os.getpid()]
    assert own.name
    assert users_of(tmp_path) == ()


def test_users_by_what_they_have_in_memory(tmp_path: Path) -> None:
    folder = tmp_path / "engines" / "cpu-1"
    folder.mkdir(parents=True)
    for pid, path in ((12, folder / "site" / "libllama.so"), (9, folder / "bin" / "x"), (10, Path(f"{folder}0/x"))):
        process = tmp_path / "proc" / str(pid)
        process.mkdir(parents=True)
        (process / "maps").write_text(f"7f00-7f01 r-xp 00000000 08:01 77    {path}\n")
    (tmp_path / "proc" / "9" / "comm").write_text("llama-server\n")
    (tmp_path / "proc" / "13").mkdir()
    (tmp_path / "proc" / "self").mkdir()
    assert users_of(folder, proc=tmp_path / "proc", system="linux") == (
        User(pid=9, name="llama-server"),
        User(pid=12, name=None),
    )
    assert users_of(folder, proc=tmp_path / "none", system="linux") == ()


def test_users_where_the_system_does_not_tell_files_in_memory(tmp_path: Path) -> None:
    program = Path(psutil.Process().exe())
    (own,) = [user for user in users_of(program.parent, system="darwin") if user.pid == os.getpid()]
    assert own.name == program.name
    assert users_of(tmp_path, system="darwin") == ()


HOLDS = """
import sys
from pathlib import Path
from launcher.builds import store
with store.staged(Path(sys.argv[1]), "cpu-1") as staging:
    (staging / "half").write_text("of a build")
    print("filling", flush=True)
    sys.stdin.read()
"""


@POSIX
def test_a_killed_install_is_cleaned_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"filling\n"
        assert store.clean(tmp_path) == 0, "it is at work"
        with pytest.raises(UsageError, match="another process is making or removing"), store.staged(tmp_path, "cpu-1"):
            pass
        process.kill()
        process.wait()
    (folder,) = left(tmp_path)
    assert folder.endswith(".filling")
    make(tmp_path)
    assert (names(tmp_path), left(tmp_path)) == (["cpu-1"], [])
